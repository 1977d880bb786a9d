// Package recipes runs what docs/recipes.md shows, with stock clients against a real server that is restarted in between.
package recipes
