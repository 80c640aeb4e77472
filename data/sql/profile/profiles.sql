-- One row per person who agreed to a profile; who was not asked has agreed by the shop's declaration.
-- Lists are ordered texts: their place stands first, so that sorting keeps it on every engine.
with said as (
    select
        i.user_id,
        i.facet,
        concat(
            lpad(cast(i.place as varchar), 2, '0'), ' ', i.key, ' ', cast(cast(i.share * 100e0 as decimal(5, 1)) as varchar), '%'
        ) as text
    from features.interest as i
    where i.place <= 10
),
strongest as (
    select d.user_id, d.facet, list_sort(array_agg(d.text)) as texts
    from said as d
    group by d.user_id, d.facet
),
latest as (
    select
        q.user_id,
        list_sort(array_agg(concat(lpad(cast(q.place as varchar), 2, '0'), ' ', t.title))) as last_items
    from features.sequence as q
    join core.items as t on q.item_id = t.item_id
    where q.place <= 10
    group by q.user_id
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
    coalesce(c3.texts, c1.texts) as categories,
    b.texts as brands,
    l.last_items
from features.recency_frequency_monetary as r
join features.sessions as s on r.user_id = s.user_id
join features.price_sensitivity as p on r.user_id = p.user_id
left join latest as l on r.user_id = l.user_id
left join strongest as c3 on r.user_id = c3.user_id and c3.facet = 'category_3'
left join strongest as c1 on r.user_id = c1.user_id and c1.facet = 'category_1'
left join strongest as b on r.user_id = b.user_id and b.facet = 'brand'
left join core.users as u on r.user_id = u.user_id
where coalesce(u.consent, true)
order by r.user_id
