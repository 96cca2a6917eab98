package tokens

import (
	"context"
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
)

// What is in a Secret that is a bootstrap token, and whom it makes.
const (
	bootstrapPrefix = "bootstrap-token-"
	bootstrapGroup  = "system:bootstrappers"
	bootstrapUser   = "system:bootstrap:"
)

var (
	bootstrapShape      = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
	bootstrapExtraGroup = regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`)
)

// Bootstrap knows the tokens with which new nodes come: Secrets of type bootstrap.kubernetes.io/token
// in kube-system, named bootstrap-token-ID. It reads the Secret at every request, so a token works the
// moment it is written and never after it is deleted.
type Bootstrap struct {
	Secrets typedcorev1.SecretsGetter
	Clock   clock.PassiveClock
}

var _ authenticator.Token = Bootstrap{}

// AuthenticateToken answers for tokens of the form ID.SECRET. What is not a good token of ours is
// nobody's, without an error.
func (b Bootstrap) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	parts := bootstrapShape.FindStringSubmatch(token)
	if parts == nil {
		return nil, false, nil
	}
	id, secret := parts[1], parts[2]
	stored, err := b.Secrets.Secrets(metav1.NamespaceSystem).Get(ctx, bootstrapPrefix+id, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read bootstrap token %s: %w", id, err)
	}
	if !b.good(stored, id, secret) {
		return nil, false, nil
	}
	groups, ok := bootstrapGroups(string(stored.Data["auth-extra-groups"]))
	if !ok {
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: bootstrapUser + id, Groups: groups}}, true, nil
}

func (b Bootstrap) good(s *corev1.Secret, id, secret string) bool {
	if s.Type != corev1.SecretTypeBootstrapToken || s.DeletionTimestamp != nil || string(s.Data["token-id"]) != id ||
		string(s.Data["usage-bootstrap-authentication"]) != "true" {
		return false
	}
	if subtle.ConstantTimeCompare(s.Data["token-secret"], []byte(secret)) != 1 {
		return false
	}
	expiration := string(s.Data["expiration"])
	if expiration == "" {
		return true
	}
	end, err := time.Parse(time.RFC3339, expiration)
	return err == nil && b.Clock.Now().Before(end)
}

// bootstrapGroups are the groups of a token; not ok if it names one that no token may have.
func bootstrapGroups(extra string) ([]string, bool) {
	groups := []string{bootstrapGroup}
	if extra == "" {
		return groups, true
	}
	for g := range strings.SplitSeq(extra, ",") {
		if !bootstrapExtraGroup.MatchString(g) {
			return nil, false
		}
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	slices.Sort(groups)
	return groups, true
}
