//! Moves the bytes of one HTTP/2 connection to a server: hyper's connection and its tasks, on this thread.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::client::conn::http2::Connection;
use hyper_util::rt::TokioIo;
use tokio::task::{AbortHandle, spawn_local};

use super::http2::StreamBody;
use super::stream::{Heard, Watched};

/// The connection with what it carries.
type Driven = Connection<TokioIo<Watched>, StreamBody, Local>;

/// hyper's connection, polled by a task of its own and looked at by whoever wants to send.
#[derive(Default)]
pub(super) struct Driver {
    connection: RefCell<Option<Driven>>,
    waker: RefCell<Option<Waker>>,
}

impl Driver {
    /// Takes over a connection.
    pub(super) fn drives(&self, connection: Driven) {
        self.connection.replace(Some(connection));
    }

    /// How many streams the server permits now.
    pub(super) fn most_streams(&self) -> usize {
        self.connection.borrow().as_ref().map_or(0, Connection::current_max_send_streams)
    }

    /// Polls it to its end, and says so to whoever listens for the server.
    pub(super) async fn run(self: Rc<Self>, heard: Rc<Heard>) {
        std::future::poll_fn(|context| {
            self.waker.replace(Some(context.waker().clone()));
            self.poll(context)
        })
        .await;
        heard.wake();
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut connection = self.connection.borrow_mut();
        let Some(running) = connection.as_mut() else { return Poll::Ready(()) };
        let Poll::Ready(ended) = Pin::new(running).poll(context) else { return Poll::Pending };
        if let Err(fault) = ended {
            // Whoever used the connection learns of the fault from its exchange.
            tracing::debug!("upstream connection: {fault}");
        }
        connection.take();
        Poll::Ready(())
    }

    /// Whether it had come to its end when it was last polled.
    pub(super) fn is_done(&self) -> bool {
        self.connection.borrow().is_none()
    }

    /// Whether it has come to its end. hyper notices a GOAWAY only when it is asked.
    pub(super) fn ended_by_now(&self) -> bool {
        let waker = self.waker.borrow().clone();
        match waker {
            Some(waker) => self.poll(&mut Context::from_waker(&waker)).is_ready(),
            None => self.is_done(),
        }
    }
}

/// Runs hyper's tasks on this thread. The first task of a connection is the one that moves its bytes.
#[derive(Clone, Default)]
pub(super) struct Local {
    first: Rc<RefCell<Option<AbortHandle>>>,
}

impl Local {
    /// The first task, once.
    pub(super) fn first(&self) -> Option<AbortHandle> {
        self.first.take()
    }
}

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        let running = spawn_local(task);
        self.first.borrow_mut().get_or_insert_with(|| running.abort_handle());
    }
}
