//! Which VMs, hosts, vCPUs and reasons a command looks at: one set of options for all commands.

use std::collections::HashMap;

use clap::Args;
use regex::Regex;

use crate::model::{NameList, Selection, VmList};

/// VMs.
#[derive(Args, Clone, Debug, Default)]
pub struct VmArgs {
    /// Only these processes
    #[arg(short, long, value_delimiter = ',', value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only these VMs: names or globs like 'web*', uuid:12c6, NAMESPACE/VMI of KubeVirt, id:ID of
    /// Firecracker, vmid:ID of Proxmox, domain:NAME of libvirt. Write a comma inside a name as ,,
    #[arg(short, long, value_name = "VM,...")]
    pub guest: Vec<VmList>,
}

/// Exits of a VM.
#[derive(Args, Clone, Debug, Default)]
pub struct ExitArgs {
    /// Only reasons, and counters of KVM, that match this regular expression
    #[arg(short, long, value_name = "REGEX")]
    pub fields: Option<Regex>,
    /// Only these vCPU numbers
    #[arg(long, value_delimiter = ',', value_name = "N")]
    pub vcpu: Vec<u32>,
}

/// The part of a recording that a command reads.
#[derive(Args, Clone, Debug, Default)]
pub struct SelectArgs {
    /// VMs.
    #[command(flatten)]
    pub vms: VmArgs,
    /// Only these hosts (name or glob) of a merged recording
    #[arg(long, value_name = "NAME,...")]
    pub host: Vec<NameList>,
    /// Their exits.
    #[command(flatten)]
    pub exits: ExitArgs,
}

impl From<&SelectArgs> for Selection {
    fn from(args: &SelectArgs) -> Self {
        Self {
            vcpus: args.exits.vcpu.clone(),
            pids: args.vms.pid.clone(),
            hosts: args.host.clone(),
            guests: args.vms.guest.clone(),
            fields: args.exits.fields.clone(),
            noticed: HashMap::new(),
        }
    }
}
