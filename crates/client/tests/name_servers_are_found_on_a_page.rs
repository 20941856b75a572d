//! A page tells a client who the name servers are, and that they have become others.

mod support;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use support::{World, eventually};
use thrustmq_client::{Client, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A page, what was asked of it, and what it answers.
struct Page {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<String>>,
}

impl Page {
    async fn with(answer: String) -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/rocketmq/nsaddr-east?nofix=1", listener.local_addr().unwrap());
        let (asked, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(answer)));
        let page = Page { url, asked: Arc::clone(&asked), answer: Arc::clone(&answer) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut some = [0; 256];
                    let count = stream.read(&mut some).await.unwrap();
                    assert!(count > 0, "the request was cut off");
                    request.extend_from_slice(&some[..count]);
                }
                asked.lock().push(String::from_utf8(request).unwrap());
                let answer = answer.lock().clone();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        page
    }

    fn list(servers: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{servers}\n", servers.len() + 1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_is_followed() {
    let (here, there) = (World::start().await, World::start().await);
    here.create_topic("only-here", 1).await;
    there.create_topic("only-there", 1).await;
    let page = Page::with(Page::list(&here.names())).await;
    let client =
        Client::discover(&page.url).discovery_refresh(Duration::from_millis(20)).connect().await.unwrap();
    client.route("only-here").await.unwrap();
    assert!(client.route("only-there").await.is_err());
    let request = page.asked.lock()[0].clone();
    assert!(
        request.starts_with("GET /rocketmq/nsaddr-east?nofix=1 HTTP/1.1\r\nHost: 127.0.0.1:"),
        "{request}"
    );

    *page.answer.lock() = Page::list(&there.names());
    eventually("the other name server is asked", async || client.route("only-there").await.is_ok()).await;

    // A page that is broken takes nothing away.
    *page.answer.lock() = "HTTP/1.1 500 Internal Server Error\r\n\r\n".to_owned();
    let asked = page.asked.lock().len();
    eventually("the page was looked at again", async || page.asked.lock().len() > asked + 1).await;
    client.admin().topic_route("only-there").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_list_makes_no_client() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n<p>",
    ] {
        let page = Page::with(answer.to_owned()).await;
        let error = Client::discover(&page.url).connect().await.unwrap_err();
        assert!(matches!(&error, Error::NoList { .. }) && !error.maybe_done(), "{error}");
    }
    assert!(matches!(Client::discover("names.example").connect().await, Err(Error::Illegal(_))));
}
