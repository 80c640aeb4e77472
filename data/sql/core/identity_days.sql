-- Which identifiers have events on a day that count for another identifier of the same person.
select distinct
    e.day,
    i.identifier,
    i.user_id
from landed.events as e
join core.identities as i on e.user_id = i.identifier
where i.identifier <> i.user_id
order by e.day, i.identifier
