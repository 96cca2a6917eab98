package pki

import (
	"crypto/aes"
	"crypto/rand"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/storage/value"
	aesgcm "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
)

const (
	secretsKeySize = 32
	// secretsPrefix is what kube-apiserver writes for a provider aesgcm with a key named duet, so
	// that one given the same key can read duet's etcd.
	secretsPrefix = "k8s:enc:aesgcm:v1:duet:"
)

// SecretsTransformer encrypts objects at rest with the AES-256-GCM key in file, which is made if
// it is not there. It reads objects that were stored in the clear, too, and calls them stale so
// that the next write encrypts them.
//
// The key is not renewed: without it what it encrypted is lost. Errors: a file that is not 32
// bytes long ([IsCorrupt]), and whatever the disk says.
func SecretsTransformer(file string) (value.Transformer, error) {
	key, err := ensureSecretsKey(file)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("pki: %s: %w", file, err)
	}
	gcm, err := aesgcm.NewGCMTransformer(block)
	if err != nil {
		return nil, fmt.Errorf("pki: %s: %w", file, err)
	}
	return value.NewPrefixTransformers(
		errors.New("encrypted with a key that is not in "+file),
		value.PrefixTransformer{Prefix: []byte(secretsPrefix), Transformer: gcm},
		value.PrefixTransformer{Prefix: []byte{}, Transformer: identity.NewEncryptCheckTransformer()},
	), nil
}

func ensureSecretsKey(file string) ([]byte, error) {
	key, err := readFile(file)
	if err != nil {
		return nil, err
	}
	if key == nil {
		key = make([]byte, secretsKeySize)
		if _, err := rand.Read(key); err != nil {
			return nil, fmt.Errorf("pki: make %s: %w", file, err)
		}
		return key, writeFile(file, key)
	}
	if len(key) != secretsKeySize {
		return nil, &corruptError{
			file, fmt.Sprintf("has %d bytes instead of %d", len(key), secretsKeySize),
			"restore it from a backup: without it the Secrets of this cluster cannot be read",
		}
	}
	return key, nil
}
