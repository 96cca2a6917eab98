package container

import (
	"fmt"
	"strings"
)

// expandAll expands each of a command's words. It returns nil for none, which leaves the choice to
// the image.
func expandAll(words []string, env map[string]string) []string {
	if words == nil {
		return nil
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = expand(w, env)
	}
	return out
}

// Expand replaces $(NAME) by the variable of that name. $$ is a dollar sign, so $$(NAME) stays
// $(NAME); a name that is not defined stays as it is written.
func Expand(text string, env map[string]string) string { return expand(text, env) }

// ExpandStrict is [Expand] for what must not keep a hole, such as a path: a name that is not defined
// is an error.
func ExpandStrict(text string, env map[string]string) (string, error) {
	var missing error
	out := substitute(text, func(name string) string {
		value, ok := env[name]
		if !ok && missing == nil {
			missing = fmt.Errorf("missing value for %q", name)
		}
		return value
	})
	return out, missing
}

// expand looks a name up in each of the environments in turn.
func expand(text string, envs ...map[string]string) string {
	return substitute(text, func(name string) string {
		for _, env := range envs {
			if v, ok := env[name]; ok {
				return v
			}
		}
		return "$(" + name + ")"
	})
}

func substitute(text string, value func(name string) string) string {
	var b strings.Builder
	for {
		at := strings.IndexByte(text, '$')
		if at < 0 || at+1 == len(text) {
			return b.String() + text
		}
		b.WriteString(text[:at])
		text = text[at:]
		switch end := strings.IndexByte(text, ')'); {
		case text[1] == '$':
			b.WriteByte('$')
			text = text[2:]
		case text[1] == '(' && end > 0:
			b.WriteString(value(text[2:end]))
			text = text[end+1:]
		default:
			b.WriteString(text[:2])
			text = text[2:]
		}
	}
}
