#!/bin/sh
# Regenerates apiserver/openapi/documents.zip; with -verify only says whether it is current.
# The Go definitions in between (1.5 MB) are removed again.
set -eu
cd "$(dirname "$0")/../.."

api="core/v1 apps/v1 authentication/v1 authorization/v1 autoscaling/v1 autoscaling/v2 batch/v1 certificates/v1
coordination/v1 discovery/v1 events/v1 networking/v1 node/v1 policy/v1 rbac/v1 scheduling/v1 scheduling/v1alpha3 storage/v1"
machinery="apis/meta/v1 api/resource runtime util/intstr version"

out=hack/openapi/definitions
trap 'rm -f $out/definitions.go $out/violations.txt' EXIT
mkdir -p $out
# shellcheck disable=SC2046
go tool -modfile=tools/go.mod openapi-gen \
	--output-dir $out --output-pkg github.com/duetk8s/duet/$out --output-file definitions.go \
	--go-header-file /dev/null --report-filename $out/violations.txt \
	$(printf 'k8s.io/api/%s ' $api) $(printf 'k8s.io/apimachinery/pkg/%s ' $machinery)
go run -tags openapi ./hack/openapi "$@"
