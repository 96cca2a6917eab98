package node

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// registryAuth is an entry of a docker configuration.
type registryAuth struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Auth     string `json:"auth"`
}

// credentials to pull an image with, from the Pod's imagePullSecrets; without any, nil is tried. A
// secret that is missing or unreadable counts as none, as the pull will tell.
func (w *worker) credentials(ctx context.Context, pod *corev1.Pod, image string) []*runtimeapi.AuthConfig {
	var all []*runtimeapi.AuthConfig
	for _, ref := range pod.Spec.ImagePullSecrets {
		secret, err := w.secrets(ctx, pod.Namespace, ref.Name)
		if err != nil {
			w.warn(pod, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets ("+ref.Name+"); attempting to pull the image may not succeed.")
			continue
		}
		for host, auth := range registries(secret) {
			if matches(host, image) {
				all = append(all, auth.config())
			}
		}
	}
	return append(all, nil)
}

func registries(secret *corev1.Secret) map[string]registryAuth {
	var file struct {
		Auths map[string]registryAuth `json:"auths"`
	}
	if data, ok := secret.Data[corev1.DockerConfigJsonKey]; ok {
		if json.Unmarshal(data, &file) == nil {
			return file.Auths
		}
		return nil
	}
	if json.Unmarshal(secret.Data[corev1.DockerConfigKey], &file.Auths) != nil {
		return nil
	}
	return file.Auths
}

// matches tells whether credentials for a registry, "https://index.docker.io/v1/" or
// "registry.example:5000/team", are for an image.
func matches(entry, image string) bool {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return false
	}
	_, rest, found := strings.Cut(entry, "://")
	if !found {
		rest = entry
	}
	host, path, _ := strings.Cut(rest, "/")
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	path = strings.TrimSuffix(path, "/")
	if path == "v1" || path == "v2" {
		path = ""
	}
	if reference.Domain(named) != host {
		return false
	}
	return path == "" || reference.Path(named) == path || strings.HasPrefix(reference.Path(named), path+"/")
}

func (a registryAuth) config() *runtimeapi.AuthConfig {
	user, password := a.Username, a.Password
	if decoded, err := base64.StdEncoding.DecodeString(a.Auth); err == nil && a.Auth != "" {
		user, password, _ = strings.Cut(string(decoded), ":")
	}
	return &runtimeapi.AuthConfig{Username: user, Password: password}
}
