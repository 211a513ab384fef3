//! Which directory to read next: always the first unread one in path order, found in constant time.
//!
//! A doubly linked list in path order holds what is not read yet: *ranges* (directories of one listing that nobody
//! took) and *places* of directories that are being read. Taking the first of a range leaves a place before it; when
//! the directory is read, its own range, if any, takes that place. So the list stays in order without comparing
//! paths, and has at most one place per reading thread before the first range.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::listing::{Context, Dir};

const NIL: u32 = u32::MAX;

/// States of [`super::listing::Child`]; what is above is the number of a finished listing plus `FINISHED`.
pub(super) const UNREAD: u32 = 0;
pub(super) const READING: u32 = 1;
pub(super) const FINISHED: u32 = 2;

enum Work {
    Free,
    Place,
    /// Children `next..` of the directory.
    Range {
        dir: Arc<Dir>,
        context: Arc<Context>,
        next: u32,
    },
}

struct Node {
    work: Work,
    before: u32,
    after: u32,
}

/// A directory to read: child `child` of `dir`.
pub(super) struct Task {
    pub(super) dir: Arc<Dir>,
    pub(super) context: Arc<Context>,
    pub(super) child: u32,
    place: u32,
}

/// The list, and the listings that are read and not consumed.
#[derive(Default)]
pub(super) struct Queue {
    nodes: Vec<Node>,
    free_nodes: Vec<u32>,
    first: Option<u32>,
    finished: Vec<Option<Arc<Dir>>>,
    free_finished: Vec<u32>,
    /// Entries in `finished`, each listing counted as one more.
    pub(super) ahead: usize,
}

impl Queue {
    /// A queue that begins with what is below the root.
    pub(super) fn new(root: &Arc<Dir>, context: Option<Context>) -> Self {
        let mut queue = Self::default();
        if let Some(context) = context {
            let work = Work::Range { dir: Arc::clone(root), context: Arc::new(context), next: 0 };
            queue.first = Some(queue.add(Node { work, before: NIL, after: NIL }));
        }
        queue
    }

    /// Takes the first unread directory.
    pub(super) fn take(&mut self) -> Option<Task> {
        let mut at = self.first?;
        while matches!(self.nodes[at as usize].work, Work::Place) {
            at = self.nodes[at as usize].after;
            if at == NIL {
                return None;
            }
        }
        let node = &mut self.nodes[at as usize];
        let before = node.before;
        let Work::Range { dir, context, next } = &mut node.work else { return None };
        let child = *next;
        dir.children[child as usize].state.store(READING, Ordering::Relaxed);
        *next += 1;
        if *next as usize == dir.children.len() {
            let Work::Range { dir, context, .. } = std::mem::replace(&mut node.work, Work::Place) else {
                return None;
            };
            return Some(Task { dir, context, child, place: at });
        }
        let (dir, context) = (Arc::clone(dir), Arc::clone(context));
        let place = self.add(Node { work: Work::Place, before, after: at });
        self.nodes[at as usize].before = place;
        self.set_after(before, place);
        Some(Task { dir, context, child, place })
    }

    /// Whether [`Queue::take`] would find something. Looks at as many nodes.
    pub(super) fn has_work(&self) -> bool {
        let mut at = self.first.unwrap_or(NIL);
        while at != NIL && matches!(self.nodes[at as usize].work, Work::Place) {
            at = self.nodes[at as usize].after;
        }
        at != NIL
    }

    /// Stores what reading `task` gave. Returns the number of directories below it.
    pub(super) fn finish(&mut self, task: &Task, dir: Dir, context: Option<Context>) -> usize {
        let dir = Arc::new(dir);
        let below = dir.children.len();
        match context {
            Some(context) => {
                let work = Work::Range { dir: Arc::clone(&dir), context: Arc::new(context), next: 0 };
                self.nodes[task.place as usize].work = work;
            }
            None => self.unlink(task.place),
        }
        self.ahead += dir.cost();
        let id = match self.free_finished.pop() {
            Some(id) => {
                self.finished[id as usize] = Some(dir);
                id
            }
            None => {
                self.finished.push(Some(dir));
                (self.finished.len() - 1) as u32
            }
        };
        task.dir.children[task.child as usize].state.store(FINISHED + id, Ordering::Relaxed);
        below
    }

    /// Takes out the finished listing whose child state is `state`.
    pub(super) fn consume(&mut self, state: u32) -> Option<Arc<Dir>> {
        let id = state.checked_sub(FINISHED)?;
        let dir = self.finished.get_mut(id as usize)?.take()?;
        self.free_finished.push(id);
        self.ahead -= dir.cost();
        Some(dir)
    }

    fn add(&mut self, node: Node) -> u32 {
        match self.free_nodes.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    fn unlink(&mut self, id: u32) {
        let node = std::mem::replace(
            &mut self.nodes[id as usize],
            Node { work: Work::Free, before: NIL, after: NIL },
        );
        self.set_after(node.before, node.after);
        if node.after != NIL {
            self.nodes[node.after as usize].before = node.before;
        }
        self.free_nodes.push(id);
    }

    fn set_after(&mut self, before: u32, after: u32) {
        if before == NIL {
            self.first = (after != NIL).then_some(after);
        } else {
            self.nodes[before as usize].after = after;
        }
    }
}
