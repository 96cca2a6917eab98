// Package translations keeps kubectl's translated texts away from where nobody reads them. kubectl
// unpacks them while its packages are initialized, long before main, and that would be a fifth of the
// time in which the server starts. Package cli imports it for this effect.
//
// The order makes it work: Go initializes packages sorted by path as soon as their imports are, and
// this one's path comes before those of kubectl's commands.
package translations

import (
	"os"
	"slices"
	"strings"

	"k8s.io/kubectl/pkg/util/i18n"
)

// unpacked at first use, which is during initialization.
var _ = i18n.SetLoadTranslationsFunc(func() error {
	if !wanted(os.Args, os.Getenv) {
		return nil // every text stands for itself
	}
	return i18n.LoadTranslations("kubectl", nil)
})

// wanted tells whether somebody is going to see kubectl's texts in another language than English.
func wanted(args []string, getenv func(string) string) bool {
	if !slices.Contains(args[1:], "kubectl") {
		return false
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} { // the first that is set decides
		if language := getenv(name); language != "" {
			return !strings.HasPrefix(language, "en") && !strings.HasPrefix(language, "C") && language != "POSIX"
		}
	}
	return false
}
