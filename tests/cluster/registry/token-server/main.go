// Issues the tokens that a registry with token authentication accepts, to one user and optionally to anybody.
package main

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const lifetime = 5 * time.Minute

type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

type claims struct {
	jwt.Claims
	Access []access `json:"access"`
}

type server struct {
	signer        jose.Signer
	anonymousPull bool
}

func main() {
	certificate := flag.String("certificate", "", "file with the certificate of the key")
	key := flag.String("key", "", "file with the key that signs the tokens")
	https := flag.Bool("tls", false, "serve HTTPS with the same certificate")
	anonymousPull := flag.Bool("anonymous-pull", false, "issue tokens that only permit to pull to anybody")
	flag.Parse()

	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	chain := []string{base64.StdEncoding.EncodeToString(pair.Certificate[0])}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5c", chain)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: pair.PrivateKey}, options)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %s", listener.Addr())
	handler := server{signer, *anonymousPull}
	if *https {
		log.Fatal(http.ServeTLS(listener, handler, *certificate, *key))
	}
	log.Fatal(http.Serve(listener, handler))
}

// ServeHTTP answers GET /?service=SERVICE&scope=repository:NAME:ACTION,ACTION&scope=...
func (s server) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	user, password, authenticated := request.BasicAuth()
	permitted := s.anonymousPull
	if authenticated {
		permitted = user == os.Getenv("REGISTRY_USER") && password == os.Getenv("REGISTRY_PASSWORD")
	}
	if !permitted || request.Method != http.MethodGet {
		response.WriteHeader(http.StatusUnauthorized)
		return
	}
	granted := []access{}
	for _, scope := range strings.Fields(strings.Join(request.URL.Query()["scope"], " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		end := strings.LastIndex(rest, ":")
		if end < 0 {
			http.Error(response, "invalid scope", http.StatusBadRequest)
			return
		}
		actions := strings.Split(rest[end+1:], ",")
		if !authenticated {
			actions = []string{"pull"}
		}
		granted = append(granted, access{kind, rest[:end], actions})
	}
	now := time.Now()
	token, err := jwt.Signed(s.signer).Claims(claims{
		Claims: jwt.Claims{
			Issuer:    "test",
			Subject:   user,
			Audience:  jwt.Audience{request.URL.Query().Get("service")},
			NotBefore: jwt.NewNumericDate(now),
			IssuedAt:  jwt.NewNumericDate(now),
			Expiry:    jwt.NewNumericDate(now.Add(lifetime)),
		},
		Access: granted,
	}).Serialize()
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(map[string]any{"token": token, "expires_in": int(lifetime.Seconds())})
}
