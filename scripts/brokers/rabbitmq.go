package main

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Messages that a consumer is sent before it must have acknowledged some.
const prefetch = 1000

// A durable queue for each connection, persistent messages and publisher confirms.
type rabbitmqConnection struct {
	channel *amqp.Channel
	queue   string
}

func dialRabbitmq(address string, n int) (connection, error) {
	connected, err := amqp.Dial("amqp://guest:guest@" + address + "/")
	if err != nil {
		return nil, err
	}
	channel, err := connected.Channel()
	if err != nil {
		return nil, err
	}
	queue := fmt.Sprintf("bench-%d", n)
	if _, err := channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return nil, err
	}
	if err := channel.Qos(prefetch, 0, false); err != nil {
		return nil, err
	}
	return &rabbitmqConnection{channel, queue}, channel.Confirm(false)
}

func (own *rabbitmqConnection) publish(body []byte) (func() error, error) {
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}
	confirmation, err := own.channel.PublishWithDeferredConfirm("", own.queue, false, false, message)
	if err != nil {
		return nil, err
	}
	return func() error {
		taken, err := confirmation.WaitContext(context.Background())
		if err == nil && !taken {
			err = errors.New("the broker refused a message")
		}
		return err
	}, nil
}

// consume takes messages off the queue, and acknowledges every hundredth and with it those before.
func (own *rabbitmqConnection) consume(received func(), stop <-chan struct{}) error {
	deliveries, err := own.channel.Consume(own.queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for count := 1; ; count++ {
		select {
		case delivery, open := <-deliveries:
			if !open {
				return errors.New("the broker closed the channel")
			}
			received()
			if count%100 != 0 {
				continue
			}
			if err := delivery.Ack(true); err != nil {
				return err
			}
		case <-stop:
			return nil
		}
	}
}
