package tokens

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// IssuerName is who issues the tokens of service accounts, and the audience that the API server is.
const IssuerName = "https://kubernetes.default.svc.cluster.local"

// claims are what a token says: the registered claims, and whose it is.
type claims struct {
	jwt.RegisteredClaims
	Kubernetes kubernetesClaims `json:"kubernetes.io"`
}

type kubernetesClaims struct {
	Namespace      string     `json:"namespace,omitempty"`
	ServiceAccount reference  `json:"serviceaccount"`
	Pod            *reference `json:"pod,omitempty"`
	Secret         *reference `json:"secret,omitempty"`
	Node           *reference `json:"node,omitempty"`
}

// reference is an object as it was when the token was issued.
type reference struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

// Issuer signs the tokens of service accounts (ES256).
type Issuer struct {
	key   *ecdsa.PrivateKey
	id    string
	clock clock.PassiveClock
}

// NewIssuer makes an issuer of a P-256 key.
func NewIssuer(key *ecdsa.PrivateKey, clock clock.PassiveClock) (*Issuer, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("key of service account tokens: %w", err)
	}
	sum := sha256.Sum256(der)
	return &Issuer{key: key, id: base64.RawURLEncoding.EncodeToString(sum[:]), clock: clock}, nil
}

// binding is what a token depends on beside its service account.
type binding struct{ pod, secret, node *reference }

func (i *Issuer) issue(account *corev1.ServiceAccount, bound binding, audiences []string, life time.Duration) (string, time.Time, error) {
	now := i.clock.Now()
	end := now.Add(life)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: IssuerName, Subject: "system:serviceaccount:" + account.Namespace + ":" + account.Name, Audience: audiences,
			ExpiresAt: jwt.NewNumericDate(end), NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now), ID: rand.Text(),
		},
		Kubernetes: kubernetesClaims{
			Namespace: account.Namespace, ServiceAccount: reference{account.Name, account.UID},
			Pod: bound.pod, Secret: bound.secret, Node: bound.node,
		},
	})
	token.Header["kid"] = i.id
	delete(token.Header, "typ")
	text, err := token.SignedString(i.key)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign a token of service account %s/%s: %w", account.Namespace, account.Name, err)
	}
	return text, end, nil
}

// parse reads a token. ours is false for what some other issuer, or none, has issued.
func (i *Issuer) parse(text string) (c *claims, ours bool, err error) {
	c = &claims{}
	if _, _, err := jwt.NewParser().ParseUnverified(text, c); err != nil || c.Issuer != IssuerName {
		return nil, false, nil //nolint:nilerr // no token of ours
	}
	c = &claims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}), jwt.WithIssuer(IssuerName),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(i.clock.Now), jwt.WithLeeway(time.Second))
	_, err = parser.ParseWithClaims(text, c, func(t *jwt.Token) (any, error) {
		if t.Header["kid"] != i.id {
			return nil, fmt.Errorf("signed with a key that is not this cluster's")
		}
		return &i.key.PublicKey, nil
	})
	if err != nil {
		return nil, true, fmt.Errorf("service account token: %w", err)
	}
	return c, true, nil
}

// Discovery serves what others need to verify tokens by themselves (OpenID Connect): the issuer, and
// its key at keysURL.
func (i *Issuer) Discovery(keysURL string) (configuration, keys http.Handler, err error) {
	point, err := i.key.PublicKey.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("key of service account tokens: %w", err)
	}
	half := (len(point) - 1) / 2 // 4, x, y
	encode := base64.RawURLEncoding.EncodeToString
	configuration, err = serve("application/json", map[string]any{
		"issuer": IssuerName, "jwks_uri": keysURL, "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
	})
	if err != nil {
		return nil, nil, err
	}
	keys, err = serve("application/jwk-set+json", map[string]any{"keys": []any{map[string]string{
		"use": "sig", "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": i.id, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:]),
	}}})
	return configuration, keys, err
}

func serve(kind string, document any) (http.Handler, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(text)
	}), nil
}
