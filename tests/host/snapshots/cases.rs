//! The command lines whose output is held.

use super::{View, check};

/// Makes a test of each case, and a list of all.
macro_rules! cases {
    ($($group:ident { $($case:ident $view:ident $arguments:literal)* })*) => {
        $(mod $group {
            use super::{View, check};
            $(#[test]
            fn $case() {
                check(stringify!($group), stringify!($case), View::$view, $arguments);
            })*
        })*

        /// Group and name of each case.
        pub const ALL: &[(&str, &str)] = &[$($((stringify!($group), stringify!($case)),)*)*];
    };
}

cases! {
    help {
        short               Text "-h"
        long                Text "--help"
        live                Text "live --help"
        live_short          Text "live -h"
        record              Text "record --help"
        report              Text "report --help"
        diff                Text "diff --help"
        merge               Text "merge --help"
        export              Text "export --help"
        check_host          Text "check --help"
        version             Text "--version"
    }

    report {
        by_reason           Text "report fleet.exitlat"
        by_vm               Text "report fleet.exitlat --by vm"
        by_vcpu             Text "report fleet.exitlat --by vcpu"
        by_vm_reason        Text "report fleet.exitlat --by vm,reason"
        by_vcpu_reason      Text "report fleet.exitlat --by vcpu,reason -g web01"
        by_part             Text "report fleet.exitlat --by part"
        by_part_reason      Text "report fleet.exitlat --by part,reason"
        by_vm_part          Text "report fleet.exitlat --by vm,part"
        by_host             Text "report fleet.exitlat --by host"

        columns_usual       Text "report fleet.exitlat --columns usual"
        columns_parts       Text "report fleet.exitlat --columns parts"
        columns_all         Text "report fleet.exitlat --columns all"
        columns_named       Text "report fleet.exitlat --columns samples,p50_ns,max_ns"
        idle                Text "report fleet.exitlat --idle"
        hist                Text "report fleet.exitlat --hist=^cpuid$"
        hist_all            Text "report s390x.exitlat --hist"
        intervals           Text "report fleet.exitlat --intervals -g db01"
        color               Text "report fleet.exitlat --color always"
        fields              Text "report fleet.exitlat -f ^(io|npf)$"
        guest               Text "report fleet.exitlat -g web*"
        vcpu                Text "report fleet.exitlat --vcpu 1"
        pid                 Text "report fleet.exitlat -p 4103"
        fields_without      Text "report fleet.exitlat -f NOTHING"

        key_sample          Text "report plain.exitlat -k sample"
        key_max             Text "report plain.exitlat -k max"
        key_min             Text "report plain.exitlat -k min"
        key_mean            Text "report plain.exitlat -k mean"
        key_p50             Text "report plain.exitlat -k p50"
        key_p99             Text "report plain.exitlat -k p99"
        key_p999            Text "report plain.exitlat -k p99.9"
        key_name            Text "report plain.exitlat -k name"

        merged_by_host      Text "report merged.exitlat --by host"
        merged_by_host_vm   Text "report merged.exitlat --by host,vm"
        merged_by_reason    Text "report merged.exitlat"
        merged_intervals    Text "report merged.exitlat --intervals --by host,vm -g db01"
        merged_one_host     Text "report merged.exitlat --host node-18"

        plain               Text "report plain.exitlat"
        plain_columns       Text "report plain.exitlat --columns parts"
        plain_by_part       Text "report plain.exitlat --by part"
        hostile_by_vm       Text "report hostile.exitlat --by vm"
        losses              Text "report losses.exitlat"
        nothing             Text "report idle.exitlat"
        header_only         Text "report header.exitlat"
        torn                Text "report torn.exitlat --by vm"

        lab                 Text "report lab.exitlat"
        lab_by_vcpu_reason  Text "report lab.exitlat --by vcpu,reason"
        lab_hist            Text "report lab.exitlat --hist=^cpuid$"
        lab_idle_by_name    Text "report lab.exitlat --idle -k name"
        parts               Text "report parts.exitlat"
        parts_by_part       Text "report parts.exitlat --by part"
        s390x               Text "report s390x.exitlat"
        s390x_by_vcpu       Text "report s390x.exitlat --by vcpu"
        perf                Text "report perf.data"
        perf_by_vcpu_reason Text "report perf.data --by vcpu,reason"
        perf_s390x          Text "report perf-s390x.data"
        perf_saved          Saved "report perf.data --save saved"

        json                Json "report fleet.exitlat --format json"
        json_by_part        Json "report fleet.exitlat --format json --by part"
        json_by_host_vm     Json "report merged.exitlat --format json --by host,vm -g db01"
        json_hist           Json "report fleet.exitlat --format json --hist=^cpuid$ -f ^cpuid$"
        json_intervals      Json "report plain.exitlat --format json --by vm --intervals -p 4103"
        json_losses         Json "report losses.exitlat --format json --by vm -g db01"
        json_s390x          Json "report s390x.exitlat --format json --vcpu 0 -f ^(Wait|Inst)"
        json_nothing        Json "report idle.exitlat --format json"
        csv                 Text "report fleet.exitlat --format csv"
        csv_by_vcpu_reason  Text "report fleet.exitlat --format csv --by vcpu,reason -g web01"
        csv_by_part         Text "report fleet.exitlat --format csv --by part"
        csv_by_host_vm      Text "report merged.exitlat --format csv --by host,vm"
        csv_intervals       Text "report fleet.exitlat --format csv --by vm --intervals -g db01"
        csv_hostile         Text "report hostile.exitlat --format csv --by vm"
    }

    export {
        csv                 Text "export fleet.exitlat --format csv -g web02 -f ^(npf|hlt)$"
        csv_by_reason       Text "export plain.exitlat --format csv --by reason"
        csv_merged          Text "export merged.exitlat --format csv --by host,vm -f ^io$ -g db01"
        csv_no_names        Text "export hostile.exitlat --format csv --by vm --names none -f ^io$"
        csv_perf            Text "export perf.data --format csv"
        json                Json "export fleet.exitlat --format json -g db01 -f ^vintr$"
        json_by_reason      Json "export plain.exitlat --format json --by reason -f ^vintr$"
        hlog                Hlog "export fleet.exitlat --format hlog -f ^(cpuid|vintr)$"
        hlog_by_vm          Hlog "export hostile.exitlat --format hlog --by vm -f ^vintr$"
        hlog_merged         Hlog "export merged.exitlat --format hlog --by host -f ^vintr$"
        hgrm                Text "export fleet.exitlat --format hgrm -f ^npf$"
        hgrm_many           Text "export fleet.exitlat --format hgrm"
        hgrm_directory      Text "export fleet.exitlat --format hgrm --by vm -o ."
        folded              Text "export fleet.exitlat --format folded"
        prometheus          Text "export fleet.exitlat --format prometheus -f ^hlt$ -g web02"
        openmetrics         Text "export fleet.exitlat --format openmetrics -f ^hlt$ -g web02"
        openmetrics_by_vcpu Text "export fleet.exitlat --format openmetrics --by vcpu -f ^vintr$ -g web02"
        openmetrics_by_vm   Text "export hostile.exitlat --format openmetrics --by vm -p 4102"
        openmetrics_merged  Text "export merged.exitlat --format openmetrics --by host -f ^vintr$"
        page                Page "export fleet.exitlat --format html"
        page_by_vm_reason   Page "export fleet.exitlat --format html --by vm,reason -f ^(npf|io)$"
        page_merged         Page "export merged.exitlat --format html --by host"
        page_plain          Page "export plain.exitlat --format html"
        page_diff           Page "export slow.exitlat --diff-base base.exitlat --format html"
        page_hostile        Page "export hostile.exitlat --format html --by vm"
        page_losses         Page "export losses.exitlat --format html --by vm -g db01"
        page_s390x          Page "export s390x.exitlat --format html"
    }

    diff {
        worse               Text "diff base.exitlat slow.exitlat"
        better              Text "diff slow.exitlat base.exitlat"
        same                Text "diff base.exitlat base.exitlat"
        by_vm_reason        Text "diff base.exitlat slow.exitlat --by vm,reason"
        other_load          Text "diff base.exitlat other.exitlat"
        too_short           Text "diff short.exitlat short.exitlat"
        lab                 Text "diff lab.exitlat parts.exitlat"
        rule_fired          Text "diff base.exitlat slow.exitlat --fail-on p99:+10%"
        rule_held           Text "diff base.exitlat slow.exitlat --fail-on rate:+20%"
        rule_without_row    Text "diff base.exitlat slow.exitlat --fail-on p99:+10%,reason=NOTHING"
        judge               Text "diff base.exitlat slow.exitlat --judge p50"
        color               Text "diff base.exitlat slow.exitlat --color always"
        json                Json "diff base.exitlat slow.exitlat --format json -f NMI"
        json_other_load     Json "diff base.exitlat other.exitlat --format json --judge p99 -f INTERRUPT"
        json_rule           Json "diff base.exitlat slow.exitlat --format json --fail-on p99:+10% -f EXTERNAL"
        junit               Text "diff base.exitlat slow.exitlat --format junit"
        junit_rule          Text "diff base.exitlat slow.exitlat --format junit --fail-on p99:+10%"
        merged              Text "diff merged.exitlat merged.exitlat --by host,vm -g db01"
        other_machine       Text "diff base.exitlat s390x.exitlat"
    }

    merge {
        header              Recording "merge -o - fleet.exitlat rack2.exitlat"
        one                 Recording "merge -o - s390x.exitlat"
        nested              Recording "merge -o - merged.exitlat base.exitlat"
        torn                Recording "merge -o - torn.exitlat rack2.exitlat"
        twice               Text "merge -o saved fleet.exitlat fleet.exitlat"
        file                Text "merge -o saved fleet.exitlat rack2.exitlat"
        exists              Text "merge -o text fleet.exitlat rack2.exitlat"
    }

    errors {
        unknown_option      Text "--no-such"
        unknown_command     Text "frobnicate"
        report_no_file      Text "report"
        missing             Text "report missing.exitlat"
        directory           Text "report ."
        empty               Text "report empty"
        no_recording        Text "report text"
        damaged             Text "report damaged.exitlat"
        newer               Text "report newer.exitlat"
        torn_perf           Text "report torn.data"
        by                  Text "report fleet.exitlat --by cpu"
        columns             Text "report fleet.exitlat --columns nothing"
        key                 Text "report fleet.exitlat -k p98"
        fields              Text "report fleet.exitlat -f ("
        guest               Text "report fleet.exitlat -g nobody"
        guest_glob          Text "report fleet.exitlat -g [web"
        pid                 Text "report fleet.exitlat -p 1"
        host                Text "report merged.exitlat --host nowhere"
        force_alone         Text "report fleet.exitlat --force"
        saves_over          Text "report fleet.exitlat --save text"
        live_interval       Text "live -d nonsense"
        live_interval_long  Text "live 2h"
        live_by_host        Text "live --by host"
        record_max_files    Text "record --max-files 3"
        record_switch       Text "record --switch-output 5"
        record_switch_out   Text "record --switch-output 1h -o -"
        record_fsync        Text "record --fsync sometimes"
        diff_one            Text "diff base.exitlat"
        diff_missing        Text "diff base.exitlat missing.exitlat"
        diff_rule           Text "diff base.exitlat slow.exitlat --fail-on p98:+1%"
        diff_judge          Text "diff base.exitlat slow.exitlat --judge p98"
        diff_alpha          Text "diff base.exitlat slow.exitlat --alpha 1"
        diff_min_change     Text "diff base.exitlat slow.exitlat --min-change x"
        diff_by_part        Text "diff base.exitlat slow.exitlat --by part"
        merge_no_output     Text "merge fleet.exitlat"
        merge_missing       Text "merge -o saved fleet.exitlat missing.exitlat"
        merge_perf          Text "merge -o saved fleet.exitlat perf.data"
        export_no_format    Text "export fleet.exitlat"
        export_ending       Text "export fleet.exitlat -o page.pdf"
        export_exists       Text "export fleet.exitlat -o exists.html"
        export_base         Text "export fleet.exitlat --format csv --diff-base base.exitlat"
        export_by_part      Text "export fleet.exitlat --format csv --by part"
        export_missing      Text "export missing.exitlat --format csv"
        export_key          Text "export fleet.exitlat --format csv --names-key text"
    }
}
