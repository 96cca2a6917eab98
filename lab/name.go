package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// maxName keeps "duet-NAME-control" inside what a file name, a host name and an nft table hold.
const maxName = 40

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// CheckName returns an error unless name can name a cluster: a DNS label of at most 40 characters,
// because it becomes part of host names, namespaces and an nft table.
func CheckName(name string) error {
	if len(name) > maxName || !label.MatchString(name) {
		return fmt.Errorf("want at most %d lower-case letters, digits and hyphens, beginning and ending with a letter or digit, e.g. duet", maxName)
	}
	return nil
}

// Namespaces are called duet-NAME-MEMBER. No member has a hyphen, so the namespaces of cluster "a"
// and those of cluster "a-net" are never confused.
const (
	memberNet     = "net"     // the bridge
	memberControl = "control" // the server
)

func namespaceName(cluster, member string) string { return "duet-" + cluster + "-" + member }

// memberOf is the inverse of namespaceName; ok is false for the namespace of something else.
func memberOf(cluster, namespace string) (member string, ok bool) {
	member, ok = strings.CutPrefix(namespace, "duet-"+cluster+"-")
	return member, ok && member != "" && !strings.Contains(member, "-")
}

// uplinkName is what the host's end of the uplink is called. The kernel allows 15 characters: a
// longer one is replaced by a hash, and the link's alias tells the cluster.
func uplinkName(cluster string) string {
	if name := "duet-" + cluster; len(name) <= 15 {
		return name
	}
	sum := sha256.Sum256([]byte(cluster))
	return "duet-" + hex.EncodeToString(sum[:5])
}

func uplinkAlias(cluster string) string { return "uplink of duet cluster " + cluster }
