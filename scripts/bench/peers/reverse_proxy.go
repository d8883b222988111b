// The peer "go" of the bench: httputil.ReverseProxy as its documentation shows it.
//
// Use: reverse_proxy 127.0.0.1:PORT http://127.0.0.1:BACKEND [cert.pem key.pem]
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	backend, err := url.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 128 // with the default of 2 it would connect for nearly every request
	transport.DisableCompression = true
	proxy := httputil.NewSingleHostReverseProxy(backend)
	proxy.Transport = transport
	server := &http.Server{Addr: os.Args[1], Handler: proxy}
	if len(os.Args) > 4 {
		log.Fatal(server.ListenAndServeTLS(os.Args[3], os.Args[4]))
	}
	log.Fatal(server.ListenAndServe())
}
