-- Recency, frequency and money of each user, read off the state of the facet `all`.
select
    s.user_id,
    date_diff('second', s.last_at_utc, s.as_of_utc) / 86400e0 as recency_days,
    date_diff('second', s.first_at_utc, s.as_of_utc) / 86400e0 as tenure_days,
    s.n_days,
    s.n_events,
    s.value,
    s.decayed_28d as frequency_28d,
    s.as_of_utc
from features.state as s
where s.facet = 'all'
order by s.user_id
