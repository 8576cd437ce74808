//! Futures that make progress at the same time, within one task.

use std::future::poll_fn;
use std::task::Poll;

/// Waits until all of them are done, or one of the answers is enough; the answers so far.
pub(super) async fn gather<F: Future>(
    futures: impl IntoIterator<Item = F>,
    mut is_enough: impl FnMut(&F::Output) -> bool,
) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut answers = Vec::with_capacity(waiting.len());
    poll_fn(|context| {
        let mut is_over = false;
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(answer) => {
                is_over |= is_enough(&answer);
                answers.push(answer);
                false
            }
            Poll::Pending => true,
        });
        if is_over || waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers
}
