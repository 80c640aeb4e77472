-- What is promoted at one instant: per item the share of places that display it, and of those whose mailer has it.
-- A promotion that begins later is not read, although it may have landed already.
with said as (
    select
        p.item_id,
        unnest(p.places) as place,
        case when p.display is null then 0 else 1 end as is_displayed,
        case when p.mailer is null then 0 else 1 end as is_mailed
    from core.promotions as p
    where p.valid_from_utc <= timestamp '{{ instant }}' and timestamp '{{ instant }}' < p.valid_until_utc
),
by_place as (
    select s.item_id, s.place, max(s.is_displayed) as is_displayed, max(s.is_mailed) as is_mailed
    from said as s
    group by s.item_id, s.place
),
places as (
    select count(distinct b.place) as n_places from by_place as b where b.place <> '{{ everywhere }}'
),
shares as (
    select
        b.item_id,
        {% for name in ('displayed', 'mailed') %}
        case
            when max(case when b.place = '{{ everywhere }}' then b.is_{{ name }} else 0 end) = 1 then 1e0
            else coalesce(sum(case when b.place <> '{{ everywhere }}' then b.is_{{ name }} else 0 end) / nullif(cast(max(n.n_places) as double), 0e0), 0e0)
        end as {{ name }},
        {% endfor %}
        timestamp '{{ instant }}' as as_of_utc
    from by_place as b
    cross join places as n
    group by b.item_id
)
select s.item_id, s.displayed, s.mailed, s.as_of_utc
from shares as s
where s.displayed > 0e0 or s.mailed > 0e0
order by s.item_id
