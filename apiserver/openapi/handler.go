package openapi

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
	"k8s.io/klog/v2"
)

// Mux is what [Register] needs of the server's NonGoRestfulMux.
type Mux interface {
	Handle(path string, handler http.Handler)
	HandlePrefix(prefix string, handler http.Handler)
}

// Register serves the embedded documents as Kubernetes does, in JSON and protobuf:
//
//	/openapi/v2
//	/openapi/v3                           which documents there are, each with its hash
//	/openapi/v3/apis/apps/v1?hash=…       one of them: with its hash immutable, with an older
//	                                      hash a redirect, without a hash plain
//
// A client that takes gzip, as every Go program does, gets the embedded bytes as they are.
func Register(mux Mux) {
	v2, v3 := formats("v2"), formats("v3")
	mux.Handle("/openapi/v2", handler(func(w http.ResponseWriter, r *http.Request) {
		serveDocument(w, r, "v2", v2)
	}))
	mux.Handle("/openapi/v3", handler(func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, "v3.json", v3[0].answer)
	}))
	mux.HandlePrefix("/openapi/v3/", handler(func(w http.ResponseWriter, r *http.Request) {
		serveDocument(w, r, "v3/"+strings.TrimPrefix(r.URL.Path, "/openapi/v3/"), v3)
	}))
}

func handler(get http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		get(w, r)
	})
}

// format is one encoding: the subtype of application/ that asks for it, the content type of the
// answer and the ending of the archive's entry.
type format struct {
	subtype, answer, ending string
}

// formats are in order of preference. The @ form is how protobuf was spelled before media types
// were read strictly, and how clients still ask for it.
func formats(version string) []format {
	proto := "com.github.proto-openapi.spec." + version
	return []format{
		{"json", "application/json", ".json"},
		{proto + ".v1.0+protobuf", "application/" + proto + ".v1.0+protobuf", ".pb"},
		{proto + "@v1.0+protobuf", "application/" + proto + ".v1.0+protobuf", ".pb"},
	}
}

// serveDocument answers with the encoding of the document that the client likes best.
func serveDocument(w http.ResponseWriter, r *http.Request, name string, known []format) {
	w.Header().Add("Vary", "Accept")
	accept := r.Header.Get("Accept")
	if accept == "" {
		accept = "*/*"
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		for _, f := range known {
			if (clause.Type == "*" || clause.Type == "application") && (clause.SubType == "*" || clause.SubType == f.subtype) {
				serve(w, r, name+f.ending, f.answer)
				return
			}
		}
	}
	http.Error(w, "only application/json and protobuf", http.StatusNotAcceptable)
}

// serve answers with one entry of the archive.
func serve(w http.ResponseWriter, r *http.Request, name, contentType string) {
	files, err := entries()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	f := files[name]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	header := w.Header()
	if hash := r.URL.Query().Get("hash"); hash != "" && strings.HasPrefix(r.URL.Path, "/openapi/v3/") {
		if hash != f.Comment {
			current := url.URL{Path: r.URL.Path, RawQuery: url.Values{"hash": {f.Comment}}.Encode()}
			http.Redirect(w, r, current.String(), http.StatusMovedPermanently)
			return
		}
		header.Set("Cache-Control", "public, immutable")
		header.Set("Expires", time.Now().UTC().AddDate(1, 0, 0).Format(http.TimeFormat))
	}
	header.Set("Etag", strconv.Quote(f.Comment))
	header.Add("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), strconv.Quote(f.Comment)) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", contentType)
	if err := send(w, f, r.Method == http.MethodHead, acceptsGzip(r)); err != nil {
		klog.FromContext(r.Context()).V(2).Info("OpenAPI document not sent", "document", name, "err", err)
	}
}

func send(w http.ResponseWriter, f *zip.File, headOnly, compressed bool) error {
	size := int64(f.UncompressedSize64)
	if compressed {
		w.Header().Set("Content-Encoding", "gzip")
		size = int64(f.CompressedSize64) + gzipOverhead
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if headOnly {
		return nil
	}
	if compressed {
		return writeGzip(w, f)
	}
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Name, err)
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// gzipHeader says deflate, nothing optional, no time, maximum compression, unknown system
// (RFC 1952, 2.3). A gzip stream has the same body as a zip entry and ends with the same checksum.
const (
	gzipHeader   = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
	gzipOverhead = int64(len(gzipHeader)) + 8
)

func writeGzip(w io.Writer, f *zip.File) error {
	raw, err := f.OpenRaw()
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Name, err)
	}
	if _, err := io.WriteString(w, gzipHeader); err != nil {
		return err
	}
	if _, err := io.Copy(w, raw); err != nil {
		return err
	}
	trailer := binary.LittleEndian.AppendUint32(nil, f.CRC32)
	_, err = w.Write(binary.LittleEndian.AppendUint32(trailer, uint32(f.UncompressedSize64)))
	return err
}

// acceptsGzip reads Accept-Encoding; "gzip;q=0" is a refusal.
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if name != "gzip" {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
		return err != nil || q > 0
	}
	return false
}
