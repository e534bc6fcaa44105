//! Programs that only count. When `kvm_exit` stays silent they tell which other KVM events move, and so what
//! the silence means. One program an event: an attached tracepoint program cannot be told which one it is on.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};

use crate::maps::{ACTIVITY, bump};

macro_rules! counting {
    ($($name:ident = $index:literal),+ $(,)?) => {$(
        /// Counts under its own index.
        #[tracepoint]
        pub fn $name(_ctx: TracePointContext) -> u32 {
            bump(&ACTIVITY, $index);
            1
        }
    )+};
}

counting!(activity_0 = 0, activity_1 = 1, activity_2 = 2, activity_3 = 3, activity_4 = 4);
