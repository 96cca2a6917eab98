package openapi

import (
	"errors"
	"fmt"
	"strings"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// Install serves groups from server: the core group ("") under /api, all others under /apis,
// with their discovery documents, and types for server-side apply.
//
// It replaces GenericAPIServer.InstallLegacyAPIGroup and InstallAPIGroups, which insist on an
// OpenAPIV3Config and build every schema of every group before the first request. What those
// read from private fields comes from config here, so config must be the one (completed) that
// made server. The alpha feature StorageVersionAPI is not looked at.
//
// Groups and versions appear in discovery in the order given. Call it once, before
// server.PrepareRun.
func Install(server *genericapiserver.GenericAPIServer, config *genericapiserver.Config,
	types managedfields.TypeConverter, groups ...*genericapiserver.APIGroupInfo,
) error {
	in := installer{server: server, config: config, types: types}
	for i, group := range groups {
		in.priority = firstPriority - i
		if err := in.group(group); err != nil {
			return fmt.Errorf("install API group %q: %w", groupName(group), err)
		}
	}
	return nil
}

type installer struct {
	server *genericapiserver.GenericAPIServer
	config *genericapiserver.Config
	types  managedfields.TypeConverter
	// priority of the group being installed: aggregated discovery lists the higher first.
	priority int
}

// firstPriority is above the 1000 that aggregated discovery gives to groups which say nothing.
const firstPriority = 18000

func (in installer) group(info *genericapiserver.APIGroupInfo) error {
	if len(info.PrioritizedVersions) == 0 {
		return errors.New("no versions")
	}
	root, aggregatedDiscovery := genericapiserver.APIGroupPrefix, in.server.AggregatedDiscoveryGroupManager
	if groupName(info) == "" {
		root, aggregatedDiscovery = genericapiserver.DefaultLegacyAPIPrefix, in.server.AggregatedLegacyDiscoveryGroupManager
	}

	served := make([]metav1.GroupVersionForDiscovery, 0, len(info.PrioritizedVersions))
	for i, gv := range info.PrioritizedVersions {
		if len(info.VersionedResourcesStorageMap[gv.Version]) == 0 {
			continue
		}
		resources, err := in.version(root, info, gv)
		if err != nil {
			return fmt.Errorf("version %s: %w", gv.Version, err)
		}
		aggregatedDiscovery.AddGroupVersion(gv.Group, apidiscoveryv2.APIVersionDiscovery{
			Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
			Version:   gv.Version,
			Resources: resources,
		})
		aggregatedDiscovery.SetGroupVersionPriority(metav1.GroupVersion(gv), in.priority, len(info.PrioritizedVersions)-i)
		served = append(served, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	if len(served) == 0 {
		return errors.New("no resources in any version")
	}

	in.discovery(root, metav1.APIGroup{Name: groupName(info), Versions: served, PreferredVersion: served[0]})
	in.lifecycle(info)
	return nil
}

// version adds the routes of one group version and returns its resources for discovery.
func (in installer) version(root string, info *genericapiserver.APIGroupInfo, gv schema.GroupVersion) ([]apidiscoveryv2.APIResourceDiscovery, error) {
	storage := info.VersionedResourcesStorageMap[gv.Version]
	for name := range storage {
		if strings.ToLower(name) != name {
			return nil, fmt.Errorf("resource %q: names are in lower case", name)
		}
	}
	version := &endpoints.APIGroupVersion{
		Root:                        root,
		GroupVersion:                gv,
		Storage:                     storage,
		AllServedVersionsByResource: servedVersions(info),
		OptionsExternalVersion:      info.OptionsExternalVersion,
		MetaGroupVersion:            info.MetaGroupVersion,

		Serializer:            info.NegotiatedSerializer,
		ParameterCodec:        info.ParameterCodec,
		Typer:                 info.Scheme,
		Creater:               info.Scheme,
		Convertor:             info.Scheme,
		ConvertabilityChecker: info.Scheme,
		UnsafeConvertor:       runtime.UnsafeObjectConvertor(info.Scheme),
		Defaulter:             info.Scheme,
		Namer:                 runtime.Namer(meta.NewAccessor()),
		TypeConverter:         in.types,

		EquivalentResourceRegistry: in.server.EquivalentResourceRegistry,
		Authorizer:                 in.server.Authorizer,
		Admit:                      in.config.AdmissionControl,
		MinRequestTimeout:          time.Duration(in.config.MinRequestTimeout) * time.Second,
		MaxRequestBodyBytes:        in.config.MaxRequestBodyBytes,
	}
	resources, _, err := version.InstallREST(in.server.Handler.GoRestfulContainer)
	return resources, err
}

// discovery adds the document that lists the versions: /apis/GROUP, or /api for the core group.
func (in installer) discovery(root string, group metav1.APIGroup) {
	container := in.server.Handler.GoRestfulContainer
	if group.Name != "" {
		in.server.DiscoveryGroupManager.AddGroup(group)
		container.Add(discovery.NewAPIGroupHandler(in.server.Serializer, group).WebService())
		return
	}
	legacy := discovery.NewLegacyRootAPIHandler(in.config.DiscoveryAddresses, in.server.Serializer, root)
	manager := in.server.AggregatedLegacyDiscoveryGroupManager
	container.Add(aggregated.WrapAggregatedDiscoveryToHandler(legacy, manager, manager).
		GenerateWebService(root, metav1.APIVersions{}))
}

// lifecycle has the storages destroyed with the server, and readiness wait for them.
func (in installer) lifecycle(info *genericapiserver.APIGroupInfo) {
	in.server.RegisterDestroyFunc(func() {
		for _, resources := range info.VersionedResourcesStorageMap {
			for _, storage := range resources {
				storage.Destroy()
			}
		}
	})
	for version, resources := range info.VersionedResourcesStorageMap {
		for name, storage := range resources {
			if ready, ok := storage.(rest.StorageWithReadiness); ok {
				gvr := metav1.GroupVersionResource{Group: groupName(info), Version: version, Resource: name}
				in.server.StorageReadinessHook.RegisterStorage(gvr, ready)
			}
		}
	}
}

// servedVersions maps each resource to the API versions that serve it.
func servedVersions(info *genericapiserver.APIGroupInfo) map[string][]string {
	versions := map[string][]string{}
	for _, gv := range info.PrioritizedVersions {
		for resource := range info.VersionedResourcesStorageMap[gv.Version] {
			versions[resource] = append(versions[resource], gv.String())
		}
	}
	return versions
}

func groupName(info *genericapiserver.APIGroupInfo) string {
	if len(info.PrioritizedVersions) == 0 {
		return ""
	}
	return info.PrioritizedVersions[0].Group
}
