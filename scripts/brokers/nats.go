package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A stream in files for each connection: one stream for all of them would be one queue.
type natsConnection struct {
	stream    jetstream.Stream
	jetstream jetstream.JetStream
	subject   string
}

func dialNats(address string, n int) (connection, error) {
	connected, err := nats.Connect("nats://" + address)
	if err != nil {
		return nil, err
	}
	// The caller bounds what is under way.
	js, err := jetstream.New(connected, jetstream.WithPublishAsyncMaxPending(1<<20))
	if err != nil {
		return nil, err
	}
	subject := fmt.Sprintf("bench.%d", n)
	within, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	config := jetstream.StreamConfig{Name: fmt.Sprintf("bench-%d", n), Subjects: []string{subject}, Storage: jetstream.FileStorage}
	stream, err := js.CreateOrUpdateStream(within, config)
	if err != nil {
		return nil, err
	}
	return &natsConnection{stream, js, subject}, nil
}

func (own *natsConnection) publish(body []byte) (func() error, error) {
	future, err := own.jetstream.PublishAsync(own.subject, body)
	if err != nil {
		return nil, err
	}
	return func() error {
		select {
		case <-future.Ok():
			return nil
		case err := <-future.Err():
			return err
		}
	}, nil
}

// consume reads the stream from its start to its end, over and over, without acknowledgements.
func (own *natsConnection) consume(received func(), stop <-chan struct{}) error {
	background := context.Background()
	info, err := own.stream.Info(background)
	if err != nil {
		return err
	}
	for {
		consumer, err := own.stream.OrderedConsumer(background, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		end := make(chan struct{})
		left := info.State.Msgs
		consuming, err := consumer.Consume(func(jetstream.Msg) {
			received()
			if left--; left == 0 {
				close(end)
			}
		})
		if err != nil {
			return err
		}
		select {
		case <-end:
			consuming.Stop()
		case <-stop:
			consuming.Stop()
			return nil
		}
	}
}
