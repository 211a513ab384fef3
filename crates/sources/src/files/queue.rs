//! Runs walk, readers and archive at the same time: batches go to whichever reader is free and come out in order.
//!
//! Memory is bounded by the number of batches that are under way. Knows nothing of files or archives.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nxs_base::{Error, ErrorKind, Result};

/// Batches between walk and archive; together with the one being filled and the one being written 14.
const QUEUED: usize = 12;

/// Where the walk puts full batches.
pub(crate) struct Feed<B> {
    jobs: SyncSender<(B, SyncSender<B>)>,
    order: SyncSender<Receiver<B>>,
    used: Receiver<B>,
}

impl<B: Default> Feed<B> {
    /// Hands a batch on; waits while too many are under way. False when nobody takes them any more.
    pub(crate) fn push(&self, batch: B) -> bool {
        let (done, result) = sync_channel(1);
        self.order.send(result).is_ok() && self.jobs.send((batch, done)).is_ok()
    }

    /// A batch to fill: one that was written, else a new one.
    pub(crate) fn empty(&self) -> B {
        self.used.try_recv().unwrap_or_default()
    }
}

/// Runs `feed` on a thread, `work` on `threads` threads and `take` on this one, batch by batch in the order of
/// `feed`. The first error of `take` ends all at once; an error of `feed` comes after all its batches were taken.
pub(crate) fn run<B: Default + Send>(
    threads: usize,
    feed: impl FnOnce(Feed<B>) -> Result<()> + Send,
    work: impl Fn(&mut B) + Sync,
    mut take: impl FnMut(&mut B) -> Result<()>,
) -> Result<()> {
    let (jobs, waiting) = sync_channel::<(B, SyncSender<B>)>(QUEUED);
    let (order, ordered) = sync_channel::<Receiver<B>>(QUEUED);
    let (give_back, used) = sync_channel::<B>(QUEUED + 2);
    let waiting = Mutex::new(waiting);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || feed(Feed { jobs, order, used }));
        for _ in 0..threads.max(1) {
            scope.spawn(|| read_batches(&waiting, &work));
        }
        let taken = ordered.iter().try_for_each(|result| {
            let mut batch = result.recv().map_err(|_| broken("a reader"))?;
            take(&mut batch)?;
            // When the walk is over nobody needs it any more.
            drop(give_back.try_send(batch));
            Ok(())
        });
        drop(ordered);
        let fed = feeder.join().map_err(|_| broken("the walk"))?;
        taken.and(fed)
    })
}

fn read_batches<B>(waiting: &Mutex<Receiver<(B, SyncSender<B>)>>, work: &(impl Fn(&mut B) + Sync)) {
    loop {
        let next = waiting.lock().map(|queue| queue.recv());
        let Ok(Ok((mut batch, done))) = next else { return };
        work(&mut batch);
        // The one who waits may have ended with an error.
        drop(done.send(batch));
    }
}

fn broken(who: &str) -> Error {
    Error::new(ErrorKind::Other, format!("{who} of the files source broke off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_taken_in_the_order_of_the_walk_whoever_read_them() {
        let mut seen = Vec::new();
        run::<Vec<u32>>(
            3,
            |feed| {
                for i in 0..500 {
                    let mut batch = feed.empty();
                    batch.clear();
                    batch.push(i);
                    assert!(feed.push(batch));
                }
                Ok(())
            },
            |batch| batch.push(batch[0] * 2),
            |batch| {
                seen.push((batch[0], batch[1]));
                Ok(())
            },
        )
        .unwrap();
        let expected: Vec<_> = (0..500).map(|i| (i, i * 2)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_error_of_the_taker_stops_the_walk() {
        let ended = run::<Vec<u32>>(
            2,
            |feed| {
                while feed.push(Vec::new()) {}
                Ok(())
            },
            |_| {},
            |_| Err(Error::new(ErrorKind::Full, "no room")),
        );
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Full);
    }

    #[test]
    fn an_error_of_the_walk_comes_after_all_its_batches() {
        let mut taken = 0;
        let ended = run::<Vec<u32>>(
            2,
            |feed| {
                for _ in 0..20 {
                    feed.push(Vec::new());
                }
                Err(Error::new(ErrorKind::Denied, "no"))
            },
            |_| {},
            |_| {
                taken += 1;
                Ok(())
            },
        );
        assert_eq!((ended.unwrap_err().kind(), taken), (ErrorKind::Denied, 20));
    }
}
