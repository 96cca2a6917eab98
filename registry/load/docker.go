package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dockerImages reads manifest.json, a list of what `docker save` was asked for:
//
//	[{"Config": "3fc9….json", "RepoTags": ["nginx:latest"], "Layers": ["8a7b…/layer.tar"]}]
//
// It names no digests, so the manifest is made here, and every layer read once. Layers stay as they
// are, compressed or not: both are fine for the node, and between two local processes copying is
// cheaper than compressing.
func (a *Archive) dockerImages() ([]Image, error) {
	var list []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := a.decode("manifest.json", &list); err != nil {
		return nil, err
	}
	var images []Image
	known := map[string]content{} // layers that images share
	for _, entry := range list {
		names, err := parseNames(entry.RepoTags)
		if err != nil {
			return nil, err
		}
		m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
		image := Image{Names: names}
		config, err := a.hash(entry.Config, ocispec.MediaTypeImageConfig)
		if err != nil {
			return nil, err
		}
		m.Config, image.contents = descriptor(config), append(image.contents, config)
		for _, name := range entry.Layers {
			layer, ok := known[name]
			if !ok {
				if layer, err = a.layer(name); err != nil {
					return nil, err
				}
				known[name] = layer
			}
			m.Layers, image.contents = append(m.Layers, descriptor(layer)), append(image.contents, layer)
		}
		data, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		whole := content{
			mediaType: m.MediaType, digest: digest.FromBytes(data), size: int64(len(data)),
			open: func() io.Reader { return bytes.NewReader(data) },
		}
		image.Digest, image.manifests = whole.digest, []content{whole}
		images = append(images, image)
	}
	return images, nil
}

func (a *Archive) layer(name string) (content, error) {
	f, err := a.section(name)
	if err != nil {
		return content{}, err
	}
	start := make([]byte, 2)
	if _, err := io.ReadFull(f, start); err != nil {
		return content{}, fmt.Errorf("%s: %w", name, err)
	}
	if isGzip(start) {
		return a.hash(name, ocispec.MediaTypeImageLayerGzip)
	}
	return a.hash(name, ocispec.MediaTypeImageLayer)
}

func (a *Archive) hash(name, mediaType string) (content, error) {
	f, err := a.section(name)
	if err != nil {
		return content{}, err
	}
	d, err := digest.FromReader(f)
	if err != nil {
		return content{}, fmt.Errorf("%s: %w", name, err)
	}
	return content{mediaType, d, f.Size(), reopen(f)}, nil
}

func reopen(f *io.SectionReader) func() io.Reader {
	return func() io.Reader { return io.NewSectionReader(f, 0, f.Size()) }
}

func descriptor(c content) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: c.mediaType, Digest: c.digest, Size: c.size}
}

// errNoName says what to do about an image that nobody could ask for.
var errNoName = errors.New("an image in it has no name; save it by its name and tag, not by its id")

// parseNames normalises names: nginx is docker.io/library/nginx:latest.
func parseNames(names []string) ([]reference.NamedTagged, error) {
	var out []reference.NamedTagged
	for _, name := range names {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, fmt.Errorf("image name %q: %w", name, err)
		}
		tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
		if !ok {
			return nil, fmt.Errorf("image name %q: want a tag, not a digest", name)
		}
		out = append(out, tagged)
	}
	if len(out) == 0 {
		return nil, errNoName
	}
	return out, nil
}
