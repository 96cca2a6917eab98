package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/lab"
)

// invitation is what `duet token create` prints.
type invitation struct {
	Token   string     `json:"token"`
	Expires *time.Time `json:"expires,omitempty"`
	Server  string     `json:"server"`
	CAFile  string     `json:"caFile"`
	Command string     `json:"command"`
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
	command.Flags().StringVar(&server, "server", "", "URL of the API server for the command that is printed (default the one in the cluster's kubeconfig)")
	c.AddCommand(command)
	return c
}

// invite writes a bootstrap token into the cluster.
func invite(ctx context.Context, which cluster, ttl time.Duration, server string) (invitation, error) {
	dir, err := lab.Find(which.name, which.dataDir)
	if err != nil {
		return invitation{}, err
	}
	kubeconfig := lab.AdminKubeconfig(dir)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return invitation{}, fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	client, err := clusterAPI{}.client(kubeconfig)
	if err != nil {
		return invitation{}, err
	}
	id, secret := strings.ToLower(rand.Text())[:6], strings.ToLower(rand.Text())[:16]
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id, Namespace: metav1.NamespaceSystem},
		Type:       corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"token-id": id, "token-secret": secret, "description": "made by duet token create", "usage-bootstrap-authentication": "true",
		},
	}
	made := invitation{Token: id + "." + secret, Server: config.Host, CAFile: filepath.Join(dir, "pki", "ca.crt")}
	if server != "" {
		made.Server = server
	}
	if ttl > 0 {
		end := time.Now().Add(ttl).UTC().Truncate(time.Second)
		made.Expires, object.StringData["expiration"] = &end, end.Format(time.RFC3339)
	}
	if _, err := client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return invitation{}, fmt.Errorf("write the token: %w", err)
	}
	made.Command = fmt.Sprintf("duet node --server %s --token %s --ca-file %s", made.Server, made.Token, made.CAFile)
	return made, nil
}
