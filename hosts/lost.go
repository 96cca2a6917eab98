package hosts

import (
	"bytes"
	"fmt"
	"strings"
)

// maxMessage is how long the message of an event may be, in bytes.
const maxMessage = 1024

// Lost returns the lines of found, the file as it is, that an edit put there and that are gone when
// next is written: those that are in neither wrote, what the agent itself wrote last, nor next. A
// line that stands there more often than the agent wrote it counts as added. Empty lines do not.
//
// wrote is nil where the agent does not remember, after a restart; then next alone says which lines
// are its own.
func Lost(found, wrote, next []byte) []string {
	if bytes.Equal(found, wrote) || bytes.Equal(found, next) {
		return nil // as nearly always
	}
	own := map[string]int{}
	for _, text := range [][]byte{wrote, next} {
		count := map[string]int{}
		for l := range strings.Lines(string(text)) {
			l = strings.TrimSuffix(l, "\n")
			count[l]++
			own[l] = max(own[l], count[l])
		}
	}
	var lost []string
	for l := range strings.Lines(string(found)) {
		l = strings.TrimSuffix(l, "\n")
		own[l]--
		if own[l] < 0 && strings.TrimSpace(l) != "" {
			lost = append(lost, l)
		}
	}
	return lost
}

// LostMessage is the message of the event that tells of lines about to be lost. However long or
// strange they are, the message is one line of printable text that fits an event; it says how many
// lines it leaves out.
func LostMessage(lines []string) string {
	const head = "Edits of /etc/hosts are lost when a container starts; use hostAliases instead. Lines lost: "
	var b strings.Builder
	b.WriteString(head)
	for i, l := range lines {
		next := fmt.Sprintf("%q", l)
		if i > 0 {
			next = ", " + next
		}
		more := fmt.Sprintf(" and %d more", len(lines)-i)
		if b.Len()+len(next)+len(more) > maxMessage {
			if i == 0 {
				return fmt.Sprintf("%s%d", head, len(lines))
			}
			return b.String() + more
		}
		b.WriteString(next)
	}
	return b.String()
}
