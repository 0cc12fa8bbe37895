// Prints the line of an htpasswd file for the user and password of the environment.
package main

import (
	"fmt"
	"log"
	"os"

	"golang.org/x/crypto/bcrypt"
)

func main() {
	// The lowest cost: the registry computes the hash again for each request.
	hash, err := bcrypt.GenerateFromPassword([]byte(os.Getenv("REGISTRY_PASSWORD")), bcrypt.MinCost)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s:%s\n", os.Getenv("REGISTRY_USER"), hash)
}
