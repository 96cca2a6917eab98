// Package load reads archives of images, as docker, buildah, skopeo and ctr write them, and puts
// them into a registry: the client half of `duet image load`.
//
// It reads the two formats there are, the docker archive (manifest.json) and the OCI layout
// (index.json), also compressed with gzip, and many modern archives are both. It speaks the OCI
// distribution API to a registry that package registry serves, in the way of a mirror: the name
// of the image's registry goes as ?ns=. It does not choose platforms, it does not pull. Only cli
// and tests import it.
package load
