-- The edges that stand: pairs of identifiers whose latest row is authenticated and undoes nothing.
select
    c.left_id,
    c.right_id,
    c.left_kind,
    c.right_kind
from identities_checked as c
where c.reason is null and c.place_in_pair = 1 and not c.undoes
order by c.left_id, c.right_id
