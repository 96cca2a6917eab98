package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/lab"
	"github.com/duetk8s/duet/pki"
)

// invitation is what `duet token create` prints.
type invitation struct {
	Token   string     `json:"token"`
	Expires *time.Time `json:"expires,omitempty"`
	// Server is a URL, CAHash a pki.Pin, ClusterDNS are addresses.
	Server     string   `json:"server"`
	CAHash     string   `json:"caHash"`
	ClusterDNS []string `json:"clusterDNS,omitempty"`
	// Command is to be typed on the machine that joins.
	Command string `json:"command"`
}

func (p Program) tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Tokens with which machines join the cluster", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var which cluster
	var out output
	var ttl time.Duration
	var server string
	command := &cobra.Command{
		Use: "create", Short: "Make a token and print the command with which a machine joins", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(out.check(), which.check()); err != nil {
				return err
			}
			if ttl < 0 {
				return &lab.FlagError{Flag: "--ttl", Value: ttl.String(), Problem: "not a duration ahead", Want: "want e.g. 24h, or 0 for a token that does not expire"}
			}
			made, err := invite(c.Context(), which, ttl, server)
			if err != nil {
				return err
			}
			return out.print(p.Stdout, made, func() { fmt.Fprintln(p.Stdout, made.Command) })
		},
	}
	which.addFlags(command)
	out.addFlag(command)
	command.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is good; 0: until it is deleted")
	command.Flags().StringVar(&server, "server", "", "URL of the API server for the command that is printed (default the address at which Pods reach it)")
	c.AddCommand(command)
	return c
}

// invite writes a bootstrap token into the cluster.
func invite(ctx context.Context, which cluster, ttl time.Duration, server string) (invitation, error) {
	kubeconfig, err := which.kubeconfig()
	if err != nil {
		return invitation{}, err
	}
	client, err := clusterAPI{}.client(kubeconfig)
	if err != nil {
		return invitation{}, err
	}
	made, err := describeCluster(ctx, client, kubeconfig)
	if err != nil {
		return invitation{}, err
	}
	if server != "" {
		made.Server = server
	}
	id, secret := strings.ToLower(rand.Text())[:6], strings.ToLower(rand.Text())[:16]
	object := bootstrapToken(id, secret, "made by duet token create")
	if ttl > 0 {
		end := time.Now().Add(ttl).UTC().Truncate(time.Second)
		made.Expires, object.StringData["expiration"] = &end, end.Format(time.RFC3339)
	}
	if _, err := client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return invitation{}, fmt.Errorf("write the token: %w", err)
	}
	made.Token = id + "." + secret
	made.Command = fmt.Sprintf("duet node --server %s --token %s --ca-hash %s", made.Server, made.Token, made.CAHash)
	if len(made.ClusterDNS) > 0 {
		made.Command += " --cluster-dns " + strings.Join(made.ClusterDNS, ",")
	}
	return made, nil
}

// bootstrapToken is a token to join with, as upstream stores one.
func bootstrapToken(id, secret, description string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id, Namespace: metav1.NamespaceSystem},
		Type:       corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"token-id": id, "token-secret": secret, "description": description, "usage-bootstrap-authentication": "true",
		},
	}
}

// describeCluster finds out what a machine has to know that is to join: where it reaches the server,
// which is where Pods do, what the CA is recognised by, and the cluster's DNS.
func describeCluster(ctx context.Context, client kubernetes.Interface, kubeconfig string) (invitation, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return invitation{}, fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	found := invitation{Server: config.Host}
	if found.CAHash, err = pki.PinOf(config.CAData); err != nil {
		return invitation{}, fmt.Errorf("read the CA in %s: %w", kubeconfig, err)
	}
	slices, err := client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"})
	if err != nil {
		return invitation{}, fmt.Errorf("ask for the address of the server: %w", err)
	}
	for _, s := range slices.Items {
		if len(s.Endpoints) > 0 && len(s.Endpoints[0].Addresses) > 0 && len(s.Ports) > 0 && s.Ports[0].Port != nil {
			found.Server = "https://" + net.JoinHostPort(s.Endpoints[0].Addresses[0], strconv.Itoa(int(*s.Ports[0].Port)))
			break
		}
	}
	dns, err := client.CoreV1().Services(metav1.NamespaceSystem).Get(ctx, "kube-dns", metav1.GetOptions{})
	switch {
	case err == nil:
		found.ClusterDNS = dns.Spec.ClusterIPs
	case !apierrors.IsNotFound(err):
		return invitation{}, fmt.Errorf("ask for the cluster's DNS: %w", err)
	}
	return found, nil
}
