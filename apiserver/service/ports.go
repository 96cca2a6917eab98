package service

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var protocols = sets.New(corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)

// validatePorts checks each port by itself, and that names tell several apart (A5.3).
func validatePorts(svc *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range svc.Spec.Ports {
		port, path := &svc.Spec.Ports[i], portsPath.Index(i)
		switch {
		case port.Name != "":
			errs = append(errs, invalid(path.Child("name"), port.Name, validation.IsDNS1123Label(port.Name))...)
			if names.Has(port.Name) {
				errs = append(errs, field.Duplicate(path.Child("name"), port.Name))
			}
			names.Insert(port.Name)
		case len(svc.Spec.Ports) > 1:
			errs = append(errs, field.Required(path.Child("name"), ""))
		}
		errs = append(errs, validatePort(port, path)...)
	}
	return errs
}

// validatePort checks everything of a port but its name and its node port (A5.3).
func validatePort(port *corev1.ServicePort, path *field.Path) field.ErrorList {
	errs := invalid(path.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port)))
	switch protocol := path.Child("protocol"); {
	case port.Protocol == "":
		errs = append(errs, field.Required(protocol, ""))
	case !protocols.Has(port.Protocol):
		errs = append(errs, field.NotSupported(protocol, port.Protocol, sets.List(protocols)))
	}
	errs = append(errs, validateTargetPort(port.TargetPort, path.Child("targetPort"))...)
	if port.AppProtocol != nil {
		errs = append(errs, invalid(path.Child("appProtocol"), *port.AppProtocol, validation.IsQualifiedName(*port.AppProtocol))...)
	}
	return errs
}

// validateTargetPort: a number, or the name of a container port as IANA would have it (A5.3).
func validateTargetPort(target intstr.IntOrString, path *field.Path) field.ErrorList {
	switch target.Type {
	case intstr.Int:
		return invalid(path, target.IntValue(), validation.IsValidPortNum(target.IntValue()))
	case intstr.String:
		return invalid(path, target.StrVal, validation.IsValidPortName(target.StrVal))
	default: // protobuf carries any number
		return field.ErrorList{field.InternalError(path, fmt.Errorf("unknown type: %v", target.Type))}
	}
}

// portKey is what two ports of a Service may not share. It has the fields, and no JSON names, of
// upstream's internal ServicePort, because that is what "Duplicate value" shows of it (0.2).
type portKey struct {
	Name        string
	Protocol    corev1.Protocol
	AppProtocol *string
	Port        int32
	TargetPort  intstr.IntOrString
	NodePort    int32
}

// validatePortsTogether: no node ports on type ClusterIP (A5.9), none twice for one protocol, and
// no port twice for one protocol (A5.4).
func validatePortsTogether(svc *corev1.Service) field.ErrorList {
	var forbidden, twiceOnNode, twice field.ErrorList
	seen := sets.New[portKey]()
	again := func(key portKey) bool {
		defer seen.Insert(key)
		return seen.Has(key)
	}
	for i := range svc.Spec.Ports {
		port, path := &svc.Spec.Ports[i], portsPath.Index(i)
		if port.NodePort != 0 {
			if svc.Spec.Type == corev1.ServiceTypeClusterIP {
				forbidden = append(forbidden, field.Forbidden(path.Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
			}
			if again(portKey{Protocol: port.Protocol, NodePort: port.NodePort}) {
				twiceOnNode = append(twiceOnNode, field.Duplicate(path.Child("nodePort"), port.NodePort))
			}
		}
		if key := (portKey{Protocol: port.Protocol, Port: port.Port}); again(key) {
			twice = append(twice, field.Duplicate(path, key))
		}
	}
	return append(append(forbidden, twiceOnNode...), twice...)
}
