-- Session statistics of each user, read off the state of the facet `all`.
select
    s.user_id,
    s.n_sessions,
    s.n_events / nullif(cast(s.n_sessions as double), 0e0) as events_per_session,
    s.value / nullif(cast(s.n_sessions as double), 0e0) as value_per_session,
    date_diff('second', s.first_at_utc, s.last_at_utc) / 86400e0 / nullif(cast(s.n_days - 1 as double), 0e0) as gap_days,
    s.as_of_utc
from features.state as s
where s.facet = 'all'
order by s.user_id
