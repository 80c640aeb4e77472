-- One row per person who agreed to a profile; who was not asked has agreed by the shop's declaration.
with strongest as (
    select
        i.user_id,
        list(concat(i.key, ' ', cast(cast(i.share * 100e0 as decimal(5, 1)) as varchar), '%') order by i.place)
            filter (where i.facet = 'category_3') as categories_3,
        list(concat(i.key, ' ', cast(cast(i.share * 100e0 as decimal(5, 1)) as varchar), '%') order by i.place)
            filter (where i.facet = 'category_1') as categories_1,
        list(concat(i.key, ' ', cast(cast(i.share * 100e0 as decimal(5, 1)) as varchar), '%') order by i.place)
            filter (where i.facet = 'brand') as brands
    from features.interest as i
    where i.place <= 10
    group by i.user_id
)
select
    r.user_id,
    r.as_of_utc,
    coalesce(u.attributes, '{}') as attributes,
    r.recency_days,
    r.tenure_days,
    r.n_days,
    r.n_events,
    r.value,
    r.frequency_28d,
    s.n_sessions,
    s.events_per_session,
    s.value_per_session,
    s.gap_days,
    p.discount_share,
    p.favourite_band,
    coalesce(t.categories_3, t.categories_1) as categories,
    t.brands,
    q.item_ids
from features.recency_frequency_monetary as r
join features.sessions as s on r.user_id = s.user_id
join features.price_sensitivity as p on r.user_id = p.user_id
left join features.sequence as q on r.user_id = q.user_id
left join strongest as t on r.user_id = t.user_id
left join core.users as u on r.user_id = u.user_id
where coalesce(u.consent, true)
order by r.user_id
