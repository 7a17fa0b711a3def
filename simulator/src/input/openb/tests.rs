use super::*;

fn pods(csv: &str) -> Result<Vec<Arrival>, InputError> {
    let table = Table::new("t.csv".into(), csv.into())?;
    read_pods(&table, Settings { load: 2_000_000, stretch: 3_000_000, sim_name_order: false })
}

#[test]
fn pods_with_times_are_read_scaled_and_sorted() {
    let read = pods(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n\
         b,1000,10,1,460,V100M32|T4|T4,LS,Running,20,40,30\n\
         a,2000,20,2,1000,,LS,Failed,10,25,\n\
         c,2000,20,2,1000,,LS,Failed,30,,\n",
    )
    .unwrap();
    let [a, b, c] = read.as_slice() else { panic!("{}", read.len()) };
    assert_eq!((a.spec.name.as_str(), a.spec.id, a.spec.submitted), ("a", WorkloadId(0), Timestamp(5000)));
    assert_eq!((a.life.runtime, a.life.impatient), (Some(Millis(45_000)), false));
    assert_eq!((b.spec.submitted, b.life.runtime), (Timestamp(10_000), Some(Millis(30_000))));
    assert_eq!(c.life.runtime, None);
    let pod = &b.spec.roles[0].pod;
    assert_eq!(pod.gpu, GpuRequest::Share { share: GpuShare(460_000), devices: 1, limit: None });
    let affinity = pod.node_affinity.as_ref().unwrap();
    assert_eq!(affinity.node_selector_terms[0].match_expressions[0].values, ["T4", "V100M32"]);
    assert!(Arc::ptr_eq(&a.spec.roles[0].pod, &c.spec.roles[0].pod));
}

#[test]
fn pods_without_times_come_in_order_and_do_not_wait() {
    let read = pods("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nz,1,1,0,0\ny,1,1,8,1000\n").unwrap();
    assert_eq!(read[0].spec.name, "z");
    assert_eq!((read[1].spec.submitted, read[1].life.runtime), (Timestamp(1000), None));
    assert!(read[1].life.impatient);
}

#[test]
fn s26_none_is_moved_where_pods_have_no_times() {
    let moves = |header: &str| pool_for(&Table::new("t.csv".into(), header.into()).unwrap()).consolidation;
    assert!(!moves("name,cpu_milli,memory_mib,num_gpu,gpu_milli\n"));
    assert!(moves("name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time\n"));
}

#[test]
fn errors_name_line_column_value_and_range() {
    let error = |csv: &str| pods(csv).err().unwrap().to_string();
    let header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n";
    assert_eq!(
        error(&format!("{header}a,1,1,0,0\nb,-1,1,0,0\n")),
        "t.csv:3: column cpu_milli: is `-1`; allowed: a whole number from 0 to 1000000000"
    );
    assert_eq!(
        error(&format!("{header}a,1,1,1,0\n")),
        "t.csv:2: column gpu_milli: is `0`; allowed: a whole number from 1 to 1000"
    );
    assert_eq!(error(&format!("{header}a,1,1,1\n")), "t.csv:2: has 4 columns, the header has 5");
    assert_eq!(
        error(&format!("{header}a,1,1,0,0\na,1,1,0,0\n")),
        "t.csv:3: column name: is `a`; allowed: a name that is not taken"
    );
    assert_eq!(
        error("name,cpu_milli,num_gpu,gpu_milli\n"),
        "t.csv:1: has no column `memory_mib`; allowed: a column memory_mib beside name, cpu_milli, num_gpu, gpu_milli"
    );
}

#[test]
fn a_line_that_is_not_utf8_is_an_error() {
    let bytes = b"name,cpu_milli\na,1\n\xff\xfe,2\n".to_vec();
    let table = Table::new("t.csv".into(), bytes).unwrap();
    let error = table.each(|row| row.text(0).map(|_| ())).err().unwrap();
    assert_eq!(error.line, Some(3));
    assert!(error.problem.contains("not UTF-8"), "{error}");
}
