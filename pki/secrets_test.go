package pki

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/storage/value"
)

func TestSecretsTransformer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets.key")
	first, err := SecretsTransformer(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("key file %v %v (%v)", info.Mode(), info.Size(), err)
	}
	ctx, key := t.Context(), value.DefaultContext("/registry/secrets/default/s")
	stored, err := first.TransformToStorage(ctx, []byte("hidden"), key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(stored, []byte("k8s:enc:aesgcm:v1:duet:")) || bytes.Contains(stored, []byte("hidden")) {
		t.Errorf("stored as %q", stored)
	}

	again, err := SecretsTransformer(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := SecretsTransformer(filepath.Join(t.TempDir(), "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(stored)
	damaged[len(damaged)-1] ^= 1
	tests := map[string]struct {
		transformer value.Transformer
		stored      []byte
		context     string
		want        string
		stale, bad  bool
	}{
		"after a restart":    {again, stored, string(key), "hidden", false, false},
		"stored in clear":    {again, []byte("k8s\x00clear"), string(key), "k8s\x00clear", true, false},
		"moved to a new key": {again, stored, "/registry/secrets/default/other", "", false, true},
		"another key file":   {other, stored, string(key), "", false, true},
		"damaged":            {again, damaged, string(key), "", false, true},
		"foreign encryption": {again, []byte("k8s:enc:kms:v2:x:abc"), string(key), "", false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, stale, err := test.transformer.TransformFromStorage(ctx, test.stored, value.DefaultContext(test.context))
			if (err != nil) != test.bad {
				t.Fatalf("error %v", err)
			}
			if !test.bad && (string(got) != test.want || stale != test.stale) {
				t.Errorf("got %q, stale %v", got, stale)
			}
		})
	}

	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := SecretsTransformer(file); !IsCorrupt(err) || !strings.Contains(err.Error(), "secrets.key has 5 bytes instead of 32; restore it") {
		t.Errorf("error %v", err)
	}
	if got := read(t, file); got != "short" {
		t.Errorf("key file changed to %q", got)
	}
}
