package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// document is a kubeconfig as YAML nodes, so that what is not changed stays as its owner wrote it.
type document struct {
	node    *yaml.Node // a mapping
	whole   *yaml.Node // the document around it
	changed bool
}

// sections hold named entries: clusters: [{name: …, cluster: {…}}, …].
var sections = []string{"clusters", "users", "contexts"}

func parse(data []byte) (*document, error) {
	whole := &yaml.Node{}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	switch err := decoder.Decode(whole); {
	case errors.Is(err, io.EOF): // nothing, or comments alone
		whole = &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}
		text(whole.Content[0], "apiVersion", "v1")
		text(whole.Content[0], "kind", "Config")
	case err != nil:
		return nil, err
	case !errors.Is(decoder.Decode(&yaml.Node{}), io.EOF):
		return nil, errors.New("more than one YAML document")
	}
	d := &document{whole: whole, node: whole.Content[0]}
	if d.node.Kind != yaml.MappingNode {
		return nil, errors.New("not a YAML mapping")
	}
	if kind := lookup(d.node, "kind"); kind != nil && kind.Value != "Config" {
		return nil, fmt.Errorf("kind is %q instead of Config", kind.Value)
	}
	for _, section := range sections {
		if list := lookup(d.node, section); list != nil && list.Kind != yaml.SequenceNode && list.Tag != "!!null" {
			return nil, fmt.Errorf("%s is not a list", section)
		}
	}
	return d, nil
}

func (d *document) bytes() ([]byte, error) {
	var buf bytes.Buffer
	encoder := yaml.NewEncoder(&buf)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(d.whole), encoder.Close()); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// merge adds the entries of config or puts them in the place of those of the same name.
func (d *document) merge(config *api.Config) error {
	data, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	ours, err := parse(data)
	if err != nil {
		return err
	}
	for _, section := range sections {
		list := d.list(section)
		for _, entry := range lookup(ours.node, section).Content {
			put(list, entry)
		}
	}
	text(d.node, "current-context", config.CurrentContext)
	d.changed = true
	return nil
}

// list returns a section, adding it if it is not there. Entries are written one below the other.
func (d *document) list(section string) *yaml.Node {
	list := lookup(d.node, section)
	if list == nil {
		list = &yaml.Node{}
		d.node.Content = append(d.node.Content, scalar(section), list)
	}
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		*list = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", HeadComment: list.HeadComment, FootComment: list.FootComment}
	}
	return list
}

// put replaces the first entry with the name of entry, drops others of that name, or appends.
func put(list, entry *yaml.Node) {
	name := lookup(entry, "name").Value
	at := slices.IndexFunc(list.Content, called(name))
	if at < 0 {
		list.Content = append(list.Content, entry)
		return
	}
	list.Content[at] = entry
	list.Content = append(list.Content[:at+1], slices.DeleteFunc(list.Content[at+1:], called(name))...)
}

// remove drops all entries called name.
func (d *document) remove(name string) {
	for _, section := range sections {
		list := lookup(d.node, section)
		if list == nil {
			continue
		}
		before := len(list.Content)
		list.Content = slices.DeleteFunc(list.Content, called(name))
		d.changed = d.changed || len(list.Content) != before
	}
	if current := lookup(d.node, "current-context"); current != nil && current.Value == name {
		text(d.node, "current-context", "")
		d.changed = true
	}
}

func called(name string) func(*yaml.Node) bool {
	return func(entry *yaml.Node) bool {
		n := lookup(entry, "name")
		return n != nil && n.Value == name
	}
}

// lookup returns what key maps to in a mapping, or nil.
func lookup(mapping *yaml.Node, key string) *yaml.Node {
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// text sets key of a mapping to a string, keeping its place.
func text(mapping *yaml.Node, key, s string) {
	if old := lookup(mapping, key); old != nil {
		old.SetString(s)
		old.Style = 0
		return
	}
	mapping.Content = append(mapping.Content, scalar(key), scalar(s))
}

func scalar(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}
