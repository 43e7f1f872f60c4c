//! How much one piece of work may hold in memory, whatever a registry has.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for so many bytes; it is never given back.
pub(crate) struct Room(AtomicUsize);

impl Room {
    pub(crate) fn of(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// Takes room, if there is enough.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_give_more_room_than_there_is() {
        let room = Room::of(10);
        assert!(room.take(4) && !room.take(7) && room.take(6) && !room.take(1) && room.take(0));
    }
}
