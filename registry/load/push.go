package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/distribution/reference"
)

// Registry is where images go.
type Registry struct {
	URL    *url.URL // https://127.0.0.1:6443; its path is not used
	Client *http.Client
}

// Push puts an image into the registry, under all its names. What is there already is not sent.
// The names come last, so that none ever stands for half an image.
func (r Registry) Push(ctx context.Context, image Image) error {
	for _, name := range image.Names {
		if err := r.push(ctx, image, name); err != nil {
			return fmt.Errorf("push %s: %w", name, err)
		}
	}
	return nil
}

func (r Registry) push(ctx context.Context, image Image, name reference.NamedTagged) error {
	for _, c := range image.contents {
		if err := r.pushContent(ctx, c, name); err != nil {
			return err
		}
	}
	for _, m := range image.manifests {
		as := m.digest.String()
		if m.digest == image.Digest {
			as = name.Tag()
		}
		request, err := r.request(ctx, http.MethodPut, name, "manifests/"+as, nil, m)
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", m.mediaType)
		if err := r.do(request, http.StatusCreated); err != nil {
			return err
		}
	}
	return nil
}

func (r Registry) pushContent(ctx context.Context, c content, name reference.Named) error {
	head, err := r.request(ctx, http.MethodHead, name, "blobs/"+c.digest.String(), nil, content{})
	if err != nil {
		return err
	}
	err = r.do(head, http.StatusOK)
	if missing := new(answerError); err == nil || !errors.As(err, &missing) || missing.status != http.StatusNotFound {
		return err
	}
	post, err := r.request(ctx, http.MethodPost, name, "blobs/uploads/", url.Values{"digest": {c.digest.String()}}, c)
	if err != nil {
		return err
	}
	return r.do(post, http.StatusCreated)
}

// request makes a request for a path of an image's repository; c, if it has any, is the body.
func (r Registry) request(ctx context.Context, method string, name reference.Named, at string, query url.Values, c content) (*http.Request, error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("ns", reference.Domain(name))
	u := url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: "/v2/" + reference.Path(name) + "/" + at, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil || c.open == nil {
		return request, err
	}
	request.ContentLength = c.size
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(c.open()), nil }
	request.Body, err = request.GetBody()
	return request, err
}

// answerError is an answer that says no.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return e.text }

// do sends a request and wants that answer; another is an *answerError.
func (r Registry) do(request *http.Request, want int) error {
	response, err := r.Client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err
	}
	if response.StatusCode == want {
		return nil
	}
	return &answerError{response.StatusCode, fmt.Sprintf("the server answers %s: %s", response.Status, reason(body))}
}

// reason finds the message in an error of a registry, {"errors": [{"message": …}]}, or of the API
// server in front of it, {"message": …}.
func reason(body []byte) string {
	var said struct {
		Message string
		Errors  []struct{ Message string }
	}
	switch err := json.Unmarshal(body, &said); {
	case err == nil && len(said.Errors) > 0:
		return said.Errors[0].Message
	case err == nil && said.Message != "":
		return said.Message
	}
	return strings.TrimSpace(string(body))
}
