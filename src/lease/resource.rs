//! The resource: it refuses whoever comes after a later holder.

use super::{
    Deserialize, Epoch, Event, Lease, Message, NodeId, Outbox, Serialize, State, String,
    VALUE_BYTES_MAX,
};

/// What the resource keeps on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// The largest token that it has accepted.
    pub epoch: Epoch,
    /// The last write by that token.
    pub number: u64,
    /// What was written last.
    pub value: String,
}

impl Lease {
    /// A holder writes, or one that was.
    pub(super) fn on_write(
        state: &mut State<Self>,
        from: NodeId,
        epoch: Epoch,
        number: u64,
        value: String,
        out: &mut Outbox<Self>,
    ) {
        let resource = &mut state.durable.resource;
        if value.len() > VALUE_BYTES_MAX {
            return; // No holder of ours sends this.
        }
        if epoch < resource.epoch {
            out.tell(Event::Refused { epoch });
            out.send(from, Message::Fenced { epoch });
            return;
        }
        if (epoch, number) > (resource.epoch, resource.number) {
            *resource = Resource {
                epoch,
                number,
                value,
            };
            out.tell(Event::Accepted { from, epoch });
        }
        // Again, if it comes again, with no effect: the last answer may be lost.
        out.send(from, Message::Written { epoch, number });
    }
}
