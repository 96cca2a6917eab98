package tokens

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// Accounts knows the tokens of service accounts.
type Accounts struct {
	Issuer  *Issuer
	Objects *Objects
	// Audiences are the API server's own: for whom a token has to be, if the asker names nobody.
	Audiences authenticator.Audiences
}

var _ authenticator.Token = Accounts{}

// AuthenticateToken verifies a token and that what it depends on still exists.
func (a Accounts) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	c, ours, err := a.Issuer.parse(token)
	if !ours || err != nil {
		return nil, false, err
	}
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		wanted = a.Audiences
	}
	audiences := authenticator.Audiences(c.Audience).Intersect(wanted)
	if len(audiences) == 0 && len(wanted) > 0 {
		return nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", c.Audience, wanted)
	}
	k := &c.Kubernetes
	if c.Subject != serviceaccount.MakeUsername(k.Namespace, k.ServiceAccount.Name) {
		return nil, false, errors.New("service account token: the subject is not the service account")
	}
	alive, err := a.Objects.exist(ctx, k, a.Issuer.clock.Now())
	if err != nil {
		return nil, false, fmt.Errorf("service account token: %w", err)
	}
	if !alive {
		return nil, false, errors.New("service account token has been invalidated")
	}
	info := serviceaccount.ServiceAccountInfo{
		Namespace: k.Namespace, Name: k.ServiceAccount.Name, UID: string(k.ServiceAccount.UID),
		CredentialID: "JTI=" + c.ID,
	}
	if k.Pod != nil {
		info.PodName, info.PodUID = k.Pod.Name, string(k.Pod.UID)
	}
	if k.Node != nil {
		info.NodeName, info.NodeUID = k.Node.Name, string(k.Node.UID)
	}
	return &authenticator.Response{User: info.UserInfo(), Audiences: audiences}, true, nil
}
