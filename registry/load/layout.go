package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerdName is the annotation in which ctr, nerdctl and docker give the full name of an image;
// the standard's own often has the tag alone.
const containerdName = "io.containerd.image.name"

// layoutImages reads index.json and what it refers to. Content keeps its digests.
func (a *Archive) layoutImages() ([]Image, error) {
	var index ocispec.Index
	if err := a.decode(ocispec.ImageIndexFile, &index); err != nil {
		return nil, err
	}
	var images []Image
	for _, d := range index.Manifests {
		names, err := parseNames(nameOf(d))
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(images, func(other Image) bool { return other.Digest == d.Digest })
		if at >= 0 { // one image, several names
			images[at].Names = append(images[at].Names, names...)
			continue
		}
		image := Image{Names: names, Digest: d.Digest}
		if err := a.collect(d, &image); err != nil {
			return nil, fmt.Errorf("%s: %w", reference.FamiliarString(names[0]), err)
		}
		images = append(images, image)
	}
	return images, nil
}

// nameOf returns the name in an entry of index.json, if there is a full one.
func nameOf(d ocispec.Descriptor) []string {
	if name := d.Annotations[containerdName]; name != "" {
		return []string{name}
	}
	if name := d.Annotations[ocispec.AnnotationRefName]; strings.ContainsAny(name, ":/") {
		return []string{name}
	}
	return nil
}

// errOtherPlatforms says that an index came without any of its images.
var errOtherPlatforms = errors.New("the archive has none of the images that its index names")

// collect adds a manifest or index and all below it to the image, parts before the whole.
func (a *Archive) collect(d ocispec.Descriptor, image *Image) error {
	whole, err := a.content(d)
	if err != nil {
		return err
	}
	var parsed struct {
		Config    *ocispec.Descriptor
		Layers    []ocispec.Descriptor
		Manifests []ocispec.Descriptor
	}
	if err := json.NewDecoder(io.LimitReader(whole.open(), maxJSON)).Decode(&parsed); err != nil {
		return fmt.Errorf("%s: %w", d.Digest, err)
	}
	found := 0
	for _, part := range parsed.Manifests {
		if _, ok := a.files[blobPath(part.Digest)]; !ok {
			continue // a platform that was not saved
		}
		if err := a.collect(part, image); err != nil {
			return err
		}
		found++
	}
	if len(parsed.Manifests) > 0 && found == 0 {
		return errOtherPlatforms
	}
	if parsed.Config != nil {
		parsed.Layers = append(parsed.Layers, *parsed.Config)
	}
	for _, part := range parsed.Layers {
		c, err := a.content(part)
		if err != nil {
			return err
		}
		image.contents = append(image.contents, c)
	}
	image.manifests = append(image.manifests, whole)
	return nil
}

func (a *Archive) content(d ocispec.Descriptor) (content, error) {
	if err := d.Digest.Validate(); err != nil {
		return content{}, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	f, err := a.section(blobPath(d.Digest))
	if err != nil {
		return content{}, err
	}
	return content{d.MediaType, d.Digest, f.Size(), reopen(f)}, nil
}

func blobPath(d digest.Digest) string {
	algorithm, encoded, _ := strings.Cut(d.String(), ":")
	return path.Join(ocispec.ImageBlobsDir, algorithm, encoded)
}
