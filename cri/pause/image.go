package pause

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Media types of the OCI image specification.
const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// blob is a piece of an image.
type blob struct {
	Type   string `json:"mediaType"`
	Digest string `json:"digest"`
	Size   int    `json:"size"`
	data   []byte
}

func newBlob(mediaType string, data []byte) blob {
	sum := sha256.Sum256(data)
	return blob{Type: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(data), data: data}
}

// image is the whole of it; the same program makes the same image, bit for bit.
type image struct{ layer, config, manifest blob }

func newImage(arch string) (image, error) {
	program, err := Program(arch)
	if err != nil {
		return image{}, err
	}
	layer, err := layerOf(program)
	if err != nil {
		return image{}, fmt.Errorf("write the pause image: %w", err)
	}
	out := image{layer: newBlob(typeLayer, layer)}
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/pause"}, "WorkingDir": "/", "User": "65535:65535"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{out.layer.Digest}},
	})
	if err != nil {
		return image{}, fmt.Errorf("write the pause image: %w", err)
	}
	out.config = newBlob(typeConfig, config)
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": out.config, "layers": []blob{out.layer},
	})
	if err != nil {
		return image{}, fmt.Errorf("write the pause image: %w", err)
	}
	out.manifest = newBlob(typeManifest, manifest)
	return out, nil
}

// layerOf is a file system with the program as /pause.
func layerOf(program []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "pause", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}
