// Serves a registry with the referrers API, which distribution does not have. It keeps everything in memory.
package main

import (
	"flag"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	certificate := flag.String("certificate", "", "file with the certificate of the server; plain HTTP without it")
	key := flag.String("key", "", "file with the key of the certificate")
	flag.Parse()
	handler := registry.New(registry.WithReferrersSupport(true))
	if user := os.Getenv("REGISTRY_USER"); user != "" {
		handler = authenticated(handler, user, os.Getenv("REGISTRY_PASSWORD"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %s", listener.Addr())
	if *certificate != "" {
		log.Fatal(http.ServeTLS(listener, handler, *certificate, *key))
	}
	log.Fatal(http.Serve(listener, handler))
}

func authenticated(handler http.Handler, user, password string) http.Handler {
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if name, secret, ok := request.BasicAuth(); !ok || name != user || secret != password {
			response.Header().Set("WWW-Authenticate", `Basic realm="test registry"`)
			response.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(response, request)
	})
}
