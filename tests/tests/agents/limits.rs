//! Agents that run away: each is stopped at its limit, its work kept, and the reason told.

use jobshop_tests::model_server::Step;

use crate::stand::{Stand, task};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_runs_away_is_stopped_at_its_limit_and_its_work_is_kept() {
    let Some(mut stand) = Stand::new().await else { return };
    stand.workers(3);
    let write = Step::Write { path: "made.txt".into(), content: "made\n".into() };
    let same = Step::Bash("echo again".into());
    let with = |rest: &[Step]| [std::slice::from_ref(&write), rest].concat();
    let busy: Vec<Step> = (0..40).map(|n| Step::Bash(format!("echo {n}"))).collect();
    let cases = [
        ("loops", with(&[same]), "repeated_calls: 4", "max_rounds", "(`repeated_calls`)"),
        ("steps", with(&busy), "steps: 3", "max_rounds", "(`steps`)"),
        ("tokens", with(&busy), "tokens: 2000", "budget", "(`tokens`)"),
        ("money", with(&busy), "usd: 0.003", "budget", "(`usd`)"),
        ("floods", with(&[Step::Flood(300_000)]), "output: 100KiB", "too_large", "(`output`)"),
        ("stalls", with(&[Step::Stall]), "idle: 40s", "timeout", "(`idle`)"),
    ];
    let tasks: String = cases
        .iter()
        .map(|(name, steps, limit, ..)| task(name, steps, &format!(", limits: {{ {limit} }}")))
        .collect();
    let (key, _) = stand.run(&tasks).await;
    let rows = stand.fleet.rows(key).await;
    for (row, (name, _, _, class, limit)) in rows.iter().zip(&cases) {
        let error = row.error.as_ref().unwrap_or_else(|| panic!("{name} ended well"));
        assert_eq!(error["class"], *class, "{name}: {error}");
        assert!(error["message"].as_str().unwrap().contains(limit), "{name}: {error}");
        let kept: Option<String> = sqlx::query_scalar(
            "select commit_id from checkpoints where session_id = $1 and seq = $2
              order by number desc limit 1",
        )
        .bind(key.id.0)
        .bind(row.seq)
        .fetch_one(stand.fleet.db.pool())
        .await
        .unwrap();
        assert_eq!(stand.git(&["show", &format!("{}:made.txt", kept.unwrap())]), "made", "{name}");
    }
    assert_eq!(stand.processes(), Vec::<String>::new(), "nothing of them is left");
    stand.fleet.stop().await;
}
