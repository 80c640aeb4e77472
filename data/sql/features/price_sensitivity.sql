-- What share of list prices each user saves, and the price band that they buy from most.
with bands as (
    select
        s.user_id,
        s.key,
        row_number() over (partition by s.user_id order by {{ rank_key('s.decayed_104d') }} desc, s.key) as place
    from features.state as s
    where s.facet = 'price_band' and s.decayed_104d > 0e0
)
select
    s.user_id,
    case
        when s.value >= 0e0 and s.discount >= 0e0 then s.discount / nullif(s.value + s.discount, 0e0)
    end as discount_share,
    case when s.quantity > 0e0 then s.value / nullif(s.quantity, 0e0) end as unit_value,
    b.key as favourite_band,
    s.as_of_utc
from features.state as s
left join bands as b on s.user_id = b.user_id and b.place = 1
where s.facet = 'all'
order by s.user_id
