//! Dense indices into the engine's tables. They never leave the engine and decide nothing: ties break by the
//! identifiers of the model.

/// An index: `slab` into a [`Slab`], `table` into a growing table (made from and used as a position).
macro_rules! ix {
    ($(#[$doc:meta])* slab $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub(crate) struct $name(pub(crate) u32);
    };
    ($(#[$doc:meta])* table $name:ident) => {
        ix!($(#[$doc])* slab $name);

        impl $name {
            pub(crate) const fn of(index: usize) -> Self {
                Self(index as u32)
            }
            pub(crate) const fn i(self) -> usize {
                self.0 as usize
            }
        }
    };
}

ix!(
    /// A node.
    slab NodeIx
);

impl NodeIx {
    /// Position in tables kept beside the slab.
    pub(crate) const fn i(self) -> usize {
        self.0 as usize
    }
}
ix!(
    /// Nodes of one class with the same left on them.
    slab StateIx
);

impl StateIx {
    /// Position in tables kept beside the slab.
    pub(crate) const fn i(self) -> usize {
        self.0 as usize
    }
}
ix!(
    /// A class of identical nodes.
    table ClassIx
);
ix!(
    /// A shape of identical pods.
    table ShapeIx
);
ix!(
    /// A pool.
    table PoolIx
);
ix!(
    /// A queue: a department or project.
    table QueueIx
);
ix!(
    /// A workload.
    slab WorkloadIx
);
ix!(
    /// Identical workloads of one project.
    table TemplateIx
);
ix!(
    /// Workloads that wait for the same.
    table GroupIx
);
ix!(
    /// A selector of pods with a topology key.
    table TermIx
);
ix!(
    /// A topology key in use.
    table TopologyIx
);

/// One pod: the workload and the pod's position over all its roles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PodIx {
    pub(crate) workload: WorkloadIx,
    pub(crate) pod: u32,
}

/// A table with reused slots.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    vacant: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts a value into a vacant slot.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(value);
                slot
            }
            None => {
                self.slots.push(Some(value));
                self.slots.len() as u32 - 1
            }
        }
    }

    /// Takes the value out of a slot.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.slots[slot as usize].take();
        if value.is_some() {
            self.vacant.push(slot);
        }
        value
    }

    /// The value in an occupied slot. Panics on a vacant one: an index is only kept while its slot is occupied.
    pub(crate) fn at(&self, slot: u32) -> &T {
        self.slots[slot as usize].as_ref().expect("an occupied slot")
    }

    /// As [`Self::at`], to change it.
    pub(crate) fn at_mut(&mut self, slot: u32) -> &mut T {
        self.slots[slot as usize].as_mut().expect("an occupied slot")
    }

    /// The value in a slot, if there is one.
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// All occupied slots in order of slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().enumerate().filter_map(|(i, v)| v.as_ref().map(|v| (i as u32, v)))
    }
}
