//! What one node makes of messages.

/// What a node makes of one message.
#[derive(Clone, Copy)]
pub(super) struct View {
    /// The message, and one: zero is an empty slot.
    key: u32,
    /// If it was sent to the node, and `is_asked`: the step that its delivery brings about, marked
    /// if that changes nothing.
    pub(super) step: u32,
    /// True if `step` is known.
    pub(super) is_asked: bool,
    /// Whether the node is done with it, if that is known.
    pub(super) is_done: Option<u8>,
}

const EMPTY: View = View {
    key: 0,
    step: 0,
    is_asked: false,
    is_done: None,
};

/// What a node makes of the messages that it met: an open-addressing table of its own, because
/// states that follow each other are made of the same few nodes, so that theirs stay in the cache.
#[derive(Default)]
pub(super) struct Views {
    slots: Vec<View>,
    len: usize,
}

impl Views {
    /// The view of a message, which is empty if the message is new.
    #[inline]
    pub(super) fn view(&mut self, letter: u32) -> &mut View {
        let key = letter + 1;
        let mut place = self.place(key);
        if self.slots.get(place).is_none_or(|view| view.key == 0) {
            if self.slots.len() <= self.len * 2 {
                self.grow();
                place = self.place(key);
            }
            self.len += 1;
            self.slots[place] = View { key, ..EMPTY };
        }
        &mut self.slots[place]
    }

    /// The slot of a message, or the empty one that is to be its slot.
    #[inline]
    fn place(&self, key: u32) -> usize {
        let mask = self.slots.len().wrapping_sub(1);
        let mut place = (key.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
        while let Some(view) = self.slots.get(place)
            && view.key != key
            && view.key != 0
        {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let wider = vec![EMPTY; (self.slots.len() * 2).max(8)];
        for view in std::mem::replace(&mut self.slots, wider) {
            if view.key != 0 {
                let place = self.place(view.key);
                self.slots[place] = view;
            }
        }
    }
}
