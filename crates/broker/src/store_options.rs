//! From `broker.conf` to what the store wants to know.

use std::time::Duration;

use settings::{Broker as Settings, BrokerRole, FlushDiskType};
use store::{CompactionOptions, FlushMode, Options, TimerOptions, Transfer};

use crate::BrokerError;

/// Refuses settings that promise what is not there.
pub(crate) fn check(settings: &Settings) -> Result<(), BrokerError> {
    let role = match settings.broker_role {
        BrokerRole::AsyncMaster => return Ok(()),
        BrokerRole::SyncMaster => "SYNC_MASTER",
        BrokerRole::Slave => "SLAVE",
    };
    Err(BrokerError::Setting {
        key: "brokerRole",
        value: role.to_owned(),
        remedy: "replication comes later; set brokerRole=ASYNC_MASTER to run without replicas",
    })
}

/// Options of the store.
pub fn of(settings: &Settings) -> Options {
    let flush = match settings.flush_disk_type {
        FlushDiskType::Async => FlushMode::Async { interval: settings.flush_interval_commit_log },
        FlushDiskType::Sync => FlushMode::Sync { timeout: settings.sync_flush_timeout },
    };
    let transfer = |bytes: usize, count: usize| Transfer { bytes: bytes as u64, count: count as u32 };
    Options {
        root: settings.store_path_root_dir.clone(),
        commit_log_dir: settings.commit_log_directory(),
        segment_bytes: settings.mapped_file_size_commit_log,
        queue_segment_entries: (settings.consume_queue_file_bytes() / 20) as u32,
        batch_queue_segment_entries: (settings.batch_consume_queue_file_bytes() / 46) as u32,
        queue_ext_enabled: settings.enable_consume_queue_ext,
        queue_ext_segment_bytes: settings.mapped_file_size_consume_queue_ext,
        index_slots: settings.max_hash_slot_num,
        index_entries: settings.max_index_num,
        index_enabled: settings.message_index_enable,
        flush,
        queue_flush_interval: settings.flush_interval_consume_queue,
        queue_sync_interval: settings.flush_consume_queue_thorough_interval,
        check_crc_on_recover: settings.check_crc_on_recover,
        append_prop_crc: settings.enabled_append_prop_crc,
        force_verify_prop_crc: settings.force_verify_prop_crc,
        multi_dispatch: settings.enable_lmq && settings.enable_multi_dispatch,
        file_reserved: settings.file_reserved_time,
        delete_when: settings.delete_when.iter().map(|hour| u32::from(*hour)).collect(),
        disk_max_used_percent: settings.disk_max_used_space_ratio,
        disk_clean_forcibly_percent: settings.disk_space_clean_forcibly_ratio,
        disk_warning_percent: settings.disk_space_warning_level_ratio,
        clean_forcibly: settings.clean_file_forcibly_enable,
        delete_batch_max: settings.delete_file_batch_max as u32,
        clean_interval: settings.clean_resource_interval,
        examined_entries_min: settings.max_filter_message_size as u64 / 20,
        delay_levels: delay_levels(settings),
        timer: settings.timer_wheel_enable.then(|| timer(settings)),
        compaction: settings.enable_compaction.then_some(CompactionOptions {
            log_file_bytes: settings.compaction_mapped_file_size,
            units_file_bytes: settings.compaction_cq_mapped_file_size,
            interval: settings.compaction_schedule_internal,
            map_bytes_max: settings.max_offset_map_size,
        }),
        in_memory_bytes: machine_memory_bytes() / 100
            * u64::from(settings.access_message_in_memory_max_ratio),
        transfer_in_memory: transfer(
            settings.max_transfer_bytes_on_message_in_memory,
            settings.max_transfer_count_on_message_in_memory,
        ),
        read_ahead: settings.data_read_ahead_enable,
        transfer_on_disk: transfer(
            settings.max_transfer_bytes_on_message_in_disk,
            settings.max_transfer_count_on_message_in_disk,
        ),
        ..Options::default()
    }
}

fn timer(settings: &Settings) -> TimerOptions {
    // Java rounds down to one of these.
    let precision_ms = match settings.timer_precision_ms {
        1000.. => 1000,
        500.. => 500,
        200.. => 200,
        _ => 100,
    };
    TimerOptions {
        precision_ms,
        roll_window_slots: settings.timer_roll_window_slot,
        log_file_bytes: settings.mapped_file_size_timer_log,
        flush_interval: settings.timer_flush_interval_ms,
        ..TimerOptions::default()
    }
}

/// Delays of levels 1, 2, ….
pub(crate) fn delay_levels(settings: &Settings) -> Vec<Duration> {
    settings.message_delay_level.delays().to_vec()
}

/// Physical memory of this machine; 8 GiB when it cannot be found out.
fn machine_memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map_or(8 << 30, |kib| kib << 10)
}
