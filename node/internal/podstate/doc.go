// Package podstate decides what a node does next for one Pod, and what it says about it.
//
// It is pure: Next takes the Pod as the API has it and what was observed on the node at one moment,
// and gives actions, the status to show, and when to be asked again should nothing happen before.
// It starts nothing, keeps nothing, reads no clock. Package node observes, acts, and asks again
// after every change.
//
// Actions under way are part of what is observed (Step.Busy), so asking twice gives them once.
package podstate
