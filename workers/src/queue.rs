//! The apalis side: a backend that emits the attempts handed to it, and a layer that passes every
//! end on. All of apalis' types stay in this file. Claims, fences and retries are not its business;
//! what an attempt came to is taken from the handler's `Result`, never from apalis' own status.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::Task,
    worker::{builder::WorkerBuilder, context::WorkerContext},
};
use futures::FutureExt;
use jobshop_engine::{
    attempt::Attempt,
    outcome::{ErrorClass, Failure, Outcome},
    store::{SessionInfo, claim::Held},
};
use tokio::sync::mpsc;
use tower::{Layer, Service};

/// An attempt on its way to its execution.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) held: Held,
    pub(crate) info: Arc<SessionInfo>,
    /// What there is to do, or what it comes to without being executed.
    pub(crate) attempt: Result<Box<Attempt>, Outcome>,
}

/// An attempt that came to its end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) held: Held,
    pub(crate) info: Arc<SessionInfo>,
    pub(crate) outcome: Outcome,
}

/// What executes one attempt.
pub(crate) trait Execute: Clone + Send + 'static {
    fn execute(&self, job: Job) -> impl Future<Output = Outcome> + Send;
}

/// Executes what comes in until the sender of jobs is dropped and all has ended. Every job is
/// followed by exactly one end, whatever happens in its execution.
pub(crate) async fn run<E: Execute>(
    jobs: mpsc::UnboundedReceiver<Job>,
    ends: mpsc::UnboundedSender<End>,
    executor: E,
) {
    let worker = WorkerBuilder::new("jobshop")
        .backend(AttemptQueue { jobs, ends })
        .build(Handler { executor });
    if let Err(error) = worker.run().await {
        tracing::error!(%error, "the worker's queue stopped");
    }
}

/// The backend: jobs come from a channel, bounded by what the worker claims.
#[derive(Debug)]
struct AttemptQueue {
    jobs: mpsc::UnboundedReceiver<Job>,
    ends: mpsc::UnboundedSender<End>,
}

impl Backend for AttemptQueue {
    type Task = Task<Job>;
    type Error = Infallible;

    fn poll_ready(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<Job>, Infallible>>> {
        let job = std::task::ready!(self.jobs.poll_recv(cx));
        if job.is_none() {
            // Without this apalis waits for a stop that nobody else says.
            let _ = worker.stop();
        }
        Poll::Ready(job.map(|job| Ok(Task::new(job))))
    }

    fn poll_close(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for AttemptQueue {
    type Args = Job;
    type Id = u64;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = EndLayer;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> EndLayer {
        EndLayer { ends: self.ends.clone() }
    }
}

/// The handler: the innermost service.
#[derive(Debug, Clone)]
struct Handler<E> {
    executor: E,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<E: Execute> Service<Task<Job>> for Handler<E> {
    type Response = Outcome;
    type Error = Infallible;
    type Future = BoxFuture<Result<Outcome, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Job>) -> Self::Future {
        let executor = self.executor.clone();
        Box::pin(async move { Ok(executor.execute(task.args).await) })
    }
}

/// Passes on what the handler returned, a panic included.
#[derive(Debug, Clone)]
struct EndLayer {
    ends: mpsc::UnboundedSender<End>,
}

#[derive(Debug, Clone)]
struct EndService<S> {
    inner: S,
    ends: mpsc::UnboundedSender<End>,
}

impl<S> Layer<S> for EndLayer {
    type Service = EndService<S>;

    fn layer(&self, inner: S) -> EndService<S> {
        EndService { inner, ends: self.ends.clone() }
    }
}

impl<S> Service<Task<Job>> for EndService<S>
where
    S: Service<Task<Job>, Response = Outcome>,
    S::Future: Send + 'static,
    S::Error: std::fmt::Display,
{
    type Response = ();
    type Error = S::Error;
    type Future = BoxFuture<Result<(), S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Job>) -> Self::Future {
        let (held, info) = (task.args.held, Arc::clone(&task.args.info));
        let ends = self.ends.clone();
        let handled = AssertUnwindSafe(self.inner.call(task)).catch_unwind();
        Box::pin(async move {
            let outcome = match handled.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => failed(error.to_string()),
                Err(panic) => failed(format!("the executor panicked: {}", message_of(&*panic))),
            };
            // The receiver outlives every job; where it does not, the lease runs out instead.
            let _ = ends.send(End { held, info, outcome });
            Ok(())
        })
    }
}

fn failed(message: String) -> Outcome {
    tracing::error!(message, "an attempt could not be executed");
    Outcome::failed(Failure::new(ErrorClass::Error, message))
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
