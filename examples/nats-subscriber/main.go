// Follows the events of Millrace over NATS, and goes on where it was after a break.
//
//	NATS_URL=nats://127.0.0.1:4222 NATS_USER=sub_… NATS_PASSWORD=mrs_… POSITION_FILE=position sh -c "go mod tidy && go run ."
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

type question struct {
	After  string `json:"after,omitempty"`
	From   string `json:"from,omitempty"`
	WaitMs int    `json:"waitMs"`
}

type answer struct {
	Events []struct {
		ID     string `json:"id"`
		Type   string `json:"type"`
		Source string `json:"source"`
	} `json:"events"`
	Position string `json:"position"`
	Gap      *struct {
		Detail string `json:"detail"`
	} `json:"gap"`
}

func setting(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// What comes after the position that was kept; everything that is left, where there is none.
func next(file string) question {
	position, err := os.ReadFile(file)
	if err != nil {
		return question{From: "beginning", WaitMs: 25_000}
	}
	return question{After: string(position), WaitMs: 25_000}
}

// Whole or not at all, also when the power goes.
func keep(file, position string) error {
	to, err := os.Create(file + ".new")
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err = to.WriteString(position); err != nil {
		return err
	}
	if err = to.Sync(); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func read(client *nats.Conn, user, file string) error {
	body, err := json.Marshal(next(file))
	if err != nil {
		return err
	}
	reply, err := client.Request("subscribers."+user+".read", body, 30*time.Second)
	if err != nil {
		return err
	}
	if refused := reply.Header.Get("Nats-Service-Error"); refused != "" {
		return errors.New(refused)
	}
	var found answer
	if err := json.Unmarshal(reply.Data, &found); err != nil {
		return err
	}
	if found.Gap != nil {
		fmt.Fprintln(os.Stderr, found.Gap.Detail)
	}
	for _, event := range found.Events {
		fmt.Println(event.Type, event.ID, event.Source)
	}
	// After the work: a crash before this line has the events come again, never lost.
	return keep(file, found.Position)
}

func main() {
	user := os.Getenv("NATS_USER")
	client, err := nats.Connect(
		setting("NATS_URL", nats.DefaultURL),
		nats.UserInfo(user, os.Getenv("NATS_PASSWORD")),
		nats.CustomInboxPrefix("_INBOX."+user), // Answers come nowhere else.
		nats.MaxReconnects(-1),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		if err := read(client, user, setting("POSITION_FILE", "position")); err != nil {
			fmt.Fprintf(os.Stderr, "%v; trying again\n", err)
			time.Sleep(time.Second)
		}
	}
}
